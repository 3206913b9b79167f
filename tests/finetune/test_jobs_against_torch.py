"""Whole jobs against torch: from the same weights and the same batches, by formulas written out here, to equal weights.

What a job is made of (rates by depth and by epoch, decay by kind, clipping, averages, SAM, accumulated parts, frozen
statistics) has tests of its own; here is whether it is put together rightly.
"""

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from minires.finetune.recipe import run_job
from minires.training import Callback, Reestimate
from minires.training.weights import copy_weights
from tests.finetune.helpers import make_photos, make_weights

torch = pytest.importorskip("torch")
DEPTH = {"fc": 0, "layer3": 1, "layer2": 2, "layer1": 3, "conv1": 4, "bn1": 4}  # layers before the head
EPOCHS = 3


class Witness(Callback):
    """Notes the weights that the training begins with, every batch, and what stands after the last step.

    All is computed in float64: in float32 a ReLU that is almost 0 is now and then on the other side of it.
    """

    order = 50

    def __init__(self):
        self.batches = []

    def before_fit(self, trainer):
        trainer.model.double()
        self.first = copy_weights(trainer.model)
        if hasattr(trainer.loss_fn, "teacher"):
            self.teacher = copy_weights(trainer.loss_fn.teacher.double())
        for callback in trainer.events.callbacks:
            if isinstance(callback, Reestimate):
                callback.loader = [(inputs.double(), targets) for inputs, targets in callback.loader]
                self.plain = [inputs.numpy() for inputs, _ in callback.loader]

    def before_step(self, trainer):
        inputs, targets = trainer.batch  # mixed by now
        trainer.batch = (inputs.double(), targets.double() if targets.ndim == 2 else targets)
        self.batches.append(tuple(np.array(tensor.array) for tensor in trainer.batch))

    def after_step(self, trainer):
        self.last = copy_weights(trainer.model)
        self.average = trainer.averaged and {name: array.copy() for name, array in trainer.averaged.items()}

    def after_epoch(self, trainer):
        self.after_step(trainer)  # statistics of averages are made anew by now

    def cleanup(self, trainer):
        trainer.model.float()
        if hasattr(trainer.loss_fn, "teacher"):
            trainer.loss_fn.teacher.float()


class Block(torch.nn.Module):
    def __init__(self, before, planes):
        super().__init__()
        stride = planes // before
        self.conv1 = torch.nn.Conv2d(before, planes, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(planes)
        self.conv2 = torch.nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(planes)
        self.stride, self.extra = stride, planes - before

    def forward(self, x):
        branch = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return torch.relu(branch + torch.nn.functional.pad(shortcut, (0, 0, 0, 0, 0, self.extra)))


class Network(torch.nn.Module):
    """The residual network of eight layers for small pictures (He et al. 2016, section 4.2)."""

    def __init__(self, weights):
        super().__init__()
        self.conv1, self.bn1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            torch.nn.Sequential(Block(before, planes)) for before, planes in ((16, 16), (16, 32), (32, 64))
        )
        self.fc = torch.nn.Linear(64, len(weights["fc.bias"]))
        self.double().load_state_dict({name: torch.tensor(array) for name, array in weights.items()})

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
        return self.fc(x.mean(dim=(2, 3)))


class Job:
    """The job in torch. Settings as in minires.finetune.settings; `probe`: epochs of the head alone."""

    def __init__(self, witness, settings, probe=0):
        self.given, self.probe = settings, probe
        self.net = Network(witness.first)
        self.teacher = Network(witness.teacher).eval() if "distill" in settings else None
        self.start = {name: each.detach().clone() for name, each in self.net.named_parameters()}
        self.steps = len(witness.batches) // EPOCHS
        kind = torch.optim.SGD if settings["opt"] == "sgd" else torch.optim.AdamW
        more = {"momentum": 0.9, "nesterov": True} if settings["opt"] == "sgd" else {"eps": settings["opt_eps"]}
        self.optimizer = kind([{"params": [each], "weight_decay": self.decay(name, each), "name": name}
                               for name, each in self.net.named_parameters()], lr=1.0, **more)  # fmt: skip
        self.average = None

    def decay(self, name, parameter):
        if "l2_sp" in self.given and not name.startswith("fc"):
            return 0.0
        return self.given["norm_weight_decay"] if parameter.ndim == 1 else self.given["weight_decay"]

    def rate(self, name, step):
        total, warmup = EPOCHS * self.steps, self.steps
        factor = (step + 1) / warmup
        if step >= warmup:
            factor = (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
        late = 0 if name.startswith("fc") else self.probe * self.steps
        rise = min(1.0, (step - late + 1) / warmup) if late else 1.0
        return self.given["lr"] * factor * rise * self.given.get("layer_decay", 1.0) ** DEPTH[name.partition(".")[0]]

    def loss(self, x, y):
        scores = self.net(x)
        count = scores.shape[1]
        if self.given.get("task") == "ordinal":
            above = (y[:, None] > torch.arange(count)).double()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, above, reduction="sum") / len(x)
        else:
            wanted = torch.nn.functional.one_hot(y, count).double() if y.ndim == 1 else y
            smoothing = self.given.get("smoothing", 0.0)
            wanted = wanted * (1 - smoothing) + smoothing / count
            loss = -(wanted * torch.log_softmax(scores, dim=1)).sum(dim=1).mean()
        if self.teacher is not None:
            with torch.no_grad():
                p = torch.softmax(self.teacher(x) / 2, dim=1)
            q = torch.log_softmax(scores[:, : p.shape[1]] / 2, dim=1)
            loss = loss + self.given["distill"] * 4 * (p * (p.log() - q)).sum(dim=1).mean()
        for name, each in self.net.named_parameters():
            if "l2_sp" in self.given and not name.startswith("fc") and each.requires_grad:
                loss = loss + self.given["l2_sp"] / 2 * ((each - self.start[name]) ** 2).sum()
        return loss

    def gradients(self, x, y):
        self.optimizer.zero_grad()
        size = self.given["batch_size"]
        for place in range(0, len(x), size):
            part = slice(place, place + size)
            (self.loss(x[part], y[part]) * len(x[part]) / len(x)).backward()

    def step(self, number, x, y):
        alone = number < self.probe * self.steps
        self.net.train()
        for each in self.net.modules():
            if alone and isinstance(each, torch.nn.BatchNorm2d):
                each.eval()
        for name, each in self.net.named_parameters():
            each.requires_grad_(not alone or name.startswith("fc"))
        self.gradients(x, y)
        trained = [each for each in self.net.parameters() if each.grad is not None]
        if "sam" in self.given:
            learnt = {name: each.clone() for name, each in self.net.named_buffers()}
            norm = torch.sqrt(sum((each.grad**2).sum() for each in trained))
            away = [self.given["sam"] * each.grad / norm for each in trained]
            with torch.no_grad():
                for each, move in zip(trained, away, strict=True):
                    each += move
            self.gradients(x, y)
            with torch.no_grad():
                for each, move in zip(trained, away, strict=True):
                    each -= move
            for name, each in self.net.named_buffers():
                each.copy_(learnt[name])
        if "clip_grad" in self.given:
            torch.nn.utils.clip_grad_norm_(trained, self.given["clip_grad"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(group["name"], number)
        self.optimizer.step()
        if self.given.get("task") == "ordinal":
            with torch.no_grad():
                self.net.fc.weight.copy_(self.net.fc.weight.mean(dim=0, keepdim=True).expand_as(self.net.fc.weight))
                places, bias = np.arange(len(self.net.fc.bias)), self.net.fc.bias.numpy()
                falling = IsotonicRegression(increasing=False).fit_transform(places, bias)
                self.net.fc.bias.copy_(torch.tensor(falling))
        epoch, over = divmod(number + 1, self.steps)
        if epoch >= self.given.get("swa_start", EPOCHS + 1) and not over:
            now, taken = self.net.state_dict(), epoch - self.given["swa_start"]
            old = self.average or now
            self.average = {name: (old[name] * taken + each) / (taken + 1) for name, each in now.items()}
        if "model_ema_decay" in self.given:
            now = {name: each.detach().clone() for name, each in self.net.state_dict().items()}
            decay, old = self.given["model_ema_decay"], self.average or now
            self.average = {name: decay * old[name] + (1 - decay) * each if each.is_floating_point() else each
                            for name, each in now.items()}  # fmt: skip


JOBS = {
    "rates": ({"opt": "sgd", "lr": 0.05, "layer_decay": 0.7, "weight_decay": 0.02, "norm_weight_decay": 0.01,
               "smoothing": 0.1, "clip_grad": 0.5, "model_ema_decay": 0.8}, {"model_ema": True}, 0),
    "probe": ({"opt": "adamw", "lr": 0.01, "opt_eps": 1e-2, "weight_decay": 0.1, "norm_weight_decay": 0.0,
               "l2_sp": 0.2, "layer_decay": 0.8}, {"strategy": "lp-ft", "grad_accum_steps": 2}, 1),
    "sam": ({"opt": "sgd", "lr": 0.03, "weight_decay": 0.01, "norm_weight_decay": 0.0, "sam": 0.1, "clip_grad": 1.0},
            {"mixup": 0.4, "grad_accum_steps": 3}, 0),
    "ordinal": ({"opt": "sgd", "lr": 0.1, "weight_decay": 0.01, "norm_weight_decay": 0.0, "task": "ordinal"}, {}, 0),
    "distill": ({"opt": "sgd", "lr": 0.05, "weight_decay": 0.01, "norm_weight_decay": 0.0, "distill": 1.5},
                {"rehearsal": 3, "grad_accum_steps": 2}, 0),
}  # fmt: skip
JOBS["average"] = ({"opt": "sgd", "lr": 0.05, "weight_decay": 0.01, "norm_weight_decay": 0.0, "swa_start": 2}, {}, 0)
NUMBERED = {"10": (40, 60, 200), "20": (60, 70, 190), "30": (210, 50, 40), "40": (200, 60, 90), "50": (50, 180, 60)}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_ends_with_the_weights_of_its_formulas(tmp_path, name):
    settings, more, probe = JOBS[name]
    settings = {**settings, "batch_size": 4 if "grad_accum_steps" in more else 8}
    make_photos(tmp_path / "photos", per_class=11, colours=NUMBERED)
    witness, place = Witness(), {"data": str(tmp_path / "photos"), "epochs": EPOCHS, "val_split": 0.0}
    start = {"weights": str(make_weights(tmp_path / "weights"))}
    if "distill" in settings:
        make_photos(tmp_path / "old", per_class=6)
        run_job("finetune", {**place, **start, "data": str(tmp_path / "old"), "output": str(tmp_path / "first")})
        start = {"from_run": str(tmp_path / "first")}
    run_job("finetune", {**place, **start, "output": str(tmp_path / "run"), **settings, **more}, callbacks=[witness])
    other = Job(witness, settings, probe)
    assert len({len(x) for x, _ in witness.batches}) == 2, "the last batch of an epoch is shorter"
    for number, (x, y) in enumerate(witness.batches):
        other.step(number, torch.tensor(x), torch.tensor(y))
    if "swa_start" in settings:
        averaged = Network({name: tensor.numpy() for name, tensor in other.average.items()})
        torch.optim.swa_utils.update_bn([torch.tensor(x) for x in witness.plain], averaged)
        other.average = averaged.state_dict()
    for found, expected in ((witness.last, other.net.state_dict()), (witness.average, other.average)):
        for key, tensor in (expected or {}).items():
            if key.rpartition(".")[2] != "num_batches_tracked":
                np.testing.assert_allclose(found[key], tensor.numpy(), rtol=1e-7, atol=1e-9, err_msg=key)
    assert abs(witness.last["fc.weight"] - witness.first["fc.weight"]).max() > 1e-3
