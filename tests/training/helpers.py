"""A small model with everything that makes a resume hard: batch norm, dropout, momentum, a schedule, a shuffle."""

import numpy as np

from minires import nn, optim, random
from minires.data import ArrayDataset, DataLoader
from minires.training import EarlyStopping, Trainer

SAMPLES, BATCH = 22, 4  # six steps an epoch, the last with two samples
STEPS = 6


def make_arrays(samples: int = SAMPLES, seed: int = 3):
    """Pictures (N, 1, 3, 2) of three classes that can be told apart."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, samples)
    images = rng.standard_normal((samples, 1, 3, 2)).astype(np.float32)
    images[np.arange(samples), 0, targets, 0] += 2
    return images, targets


class Noisy:
    """A transform that draws."""

    def __call__(self, image):
        noise = random.generator().standard_normal(image.shape).astype(np.float32)
        return type(image)(image.array + 0.1 * noise)


def make_loaders(workers: int = 0, val: bool = True):
    dataset = ArrayDataset(*make_arrays(), transform=Noisy())
    train = DataLoader(dataset, BATCH, shuffle=True, seed=5, num_workers=workers)
    return train, DataLoader(ArrayDataset(*make_arrays(9, seed=4)), 4) if val else None


def make_model(seed: int = 1):
    with random.address(seed, "model"):
        return nn.Sequential(nn.Flatten(), nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3),
                             nn.Linear(12, 3))  # fmt: skip


def make_trainer(callbacks=(), stopping: bool = True, **more):
    """A trainer for the model above; its early stopping never stops, and restores the best weights."""
    model = more.pop("model", None) or make_model()
    lr = more.pop("lr", 0.1)
    optimizer = more.pop("optimizer", None) or optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True)
    if "scheduler" not in more:
        more["scheduler"] = optim.lr_scheduler.CosineAnnealingLR(optimizer, 24)
        more.setdefault("schedule_per", "step")
    own = [EarlyStopping("val_loss", None)] if stopping else []
    usual = {"metrics": ["accuracy"], "progress": False, "seed": 7}
    loss_fn = more.pop("loss_fn", None) or nn.CrossEntropyLoss()
    return Trainer(model, optimizer, loss_fn, callbacks=[*own, *callbacks], **{**usual, **more})


def bits(trainer) -> dict[str, bytes]:
    """The fingerprint without the status: what a failure must leave as it was."""
    return {**fingerprint(trainer), "place": repr((trainer.epoch, trainer.step, trainer.position)).encode()}


def fingerprint(trainer) -> dict[str, bytes]:
    """All bits that two equal runs share: weights, buffers, the optimizer's state, history."""
    tensors = [*trainer.model.named_parameters(), *trainer.model.named_buffers()]
    found = {name: tensor.detach().numpy().tobytes() for name, tensor in tensors}
    for number, entries in trainer.optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            found[f"{number}.{name}"] = getattr(value, "array", np.asarray(value)).tobytes()
    found["history"] = trainer.history.to_csv().encode()
    found["place"] = repr((trainer.epoch, trainer.step, trainer.position, trainer.status)).encode()
    return found
