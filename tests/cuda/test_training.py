"""Training on the stand-in for CuPy: a Trainer in mixed precision, its checkpoints, and `minires finetune --device`."""

import json

import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires.cli import main
from minires.kernels.cuda.adapters import optim as on_gpu
from minires.training import ExponentialAverage, ModelCheckpoint, Trainer
from minires.training.gradients import gradient_norm
from tests.cuda.harness import needs_emulator

pytestmark = needs_emulator


def a_trainer(amp=None, device="cuda", callbacks=(), bias=False):
    with mr.random.address(3, "test"):
        model = mr.nn.Sequential(mr.nn.Conv2d(3, 8, 3, padding=1, bias=bias), mr.nn.BatchNorm2d(8), mr.nn.ReLU(),
                                 mr.nn.AdaptiveAvgPool2d(1), mr.nn.Flatten(), mr.nn.Dropout(0.2),
                                 mr.nn.Linear(8, 2))  # fmt: skip
    model.to(device)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Trainer(model, optimizer, mr.nn.CrossEntropyLoss(), metrics=["accuracy"], callbacks=callbacks, amp=amp,
                   progress=False)  # fmt: skip


def batches(pins=False, count=3):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4 * count, 3, 4, 4)).astype(np.float32)
    labels = np.arange(4 * count) % 2
    x[labels == 1] += 1
    data = mr.data.TensorDataset(mr.tensor(x), mr.tensor(labels))
    return mr.data.DataLoader(data, 4, shuffle=True, seed=1, pin_memory=pins)


@pytest.mark.parametrize("amp", [None, "float16", "bfloat16"])
def test_it_learns_what_the_cpu_learns(amp, stand_in):
    if amp == "bfloat16":
        pytest.importorskip("ml_dtypes")
    ours, cpu = a_trainer(amp), a_trainer(device="cpu")
    for trainer in (ours, cpu):
        trainer.fit(batches(trainer is ours), batches(), epochs=1)
    assert ours.history.rows[0]["loss"] == pytest.approx(cpu.history.rows[0]["loss"], rel=2e-5 if amp is None else 0.02)
    assert ours.history.rows[0]["val_loss"] == pytest.approx(cpu.history.rows[0]["val_loss"], rel=0.05)
    assert all(p.device == "cuda:0" and p.dtype == mr.float32 for p in ours.model.parameters())
    assert ours.predict(batches()).dtype == mr.float32


@pytest.mark.parametrize("amp", [None, "float16"])
def test_a_resumed_run_ends_with_the_same_bits(amp, stand_in, tmp_path):
    whole = a_trainer(amp, callbacks=[ExponentialAverage(0.5)])
    whole.fit(batches(), batches(), epochs=2)
    first = a_trainer(amp, callbacks=[ExponentialAverage(0.5), ModelCheckpoint(tmp_path)])
    first.fit(batches(), batches(), epochs=2, max_steps=4)
    second = a_trainer(amp, callbacks=[ExponentialAverage(0.5), ModelCheckpoint(tmp_path)])
    assert second.resume(tmp_path) and second.step == 4
    second.fit(batches(), batches(), epochs=2)
    assert second.precision.state_dict() == whole.precision.state_dict()
    assert second.history.rows == whole.history.rows
    for ours, expected in zip(second.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert ours.cpu().numpy().tobytes() == expected.cpu().numpy().tobytes()


def test_a_gradient_that_is_too_large_skips_the_step_and_halves_the_scale(stand_in):
    trainer = a_trainer("float16")
    trainer.precision.scaler._scale = 2.0**40
    before = {name: tensor.detach().cpu().numpy().copy() for name, tensor in trainer.model.named_parameters()}
    trainer.scheduler, trainer.schedule_per = mr.optim.lr_scheduler.LinearLR(trainer.optimizer), "step"  # does not warn
    trainer.fit(batches(count=1), epochs=1)
    assert trainer.precision.skipped == 1 and trainer.precision.scaler.get_scale() == 2.0**39
    for name, tensor in trainer.model.named_parameters():
        assert (tensor.detach().cpu().numpy() == before[name]).all(), name
    assert trainer.state_dict()["amp"]["scaler"]["scale"] == 2.0**39


def test_a_loss_that_is_not_finite_still_ends_the_training(stand_in):
    trainer = a_trainer("float16")
    trainer.model[6].bias.array[...] = float("nan")
    with pytest.raises(mr.training.NotFiniteError, match=r"the values of 6\.bias"):
        trainer.fit(batches(), epochs=1)


def test_mixed_precision_on_the_cpu_is_refused():
    with pytest.raises(RuntimeError, match="float16 and bfloat16 are emulated there"):
        a_trainer("bfloat16", device="cpu")
    with pytest.raises(ValueError, match="amp is float16, bfloat16 or None, got 'tf32'"):
        a_trainer("tf32", device="cpu")


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 2), ("val", 1)):
        for place, name in enumerate("ab"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 100, (8, 8, 3)) + 120 * place
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return str(tmp_path / "photos")


@pytest.mark.parametrize("amp", [["--amp", "bf16", "--model-ema"], pytest.param(["--amp"], marks=pytest.mark.slow)])
def test_the_command_line(amp, stand_in, photos, tmp_path, capsys):
    """Train on the GPU; the model it leaves is used on the CPU, and there again."""
    if "bf16" in amp:
        pytest.importorskip("ml_dtypes")
    run = str(tmp_path / "run")
    words = ["finetune", "--data", photos, "--model", "resnet20", "--weights", "none", "--img-size", "8", "-b", "4"]
    assert main([*words, "--epochs", "1", "--device", "cuda", *amp, "--output", run, "--json"]) == 0
    shown = capsys.readouterr()
    assert "device   cuda:0 (stand-in), in mixed precision" in shown.err
    after = json.loads(shown.out)["after"]
    assert any("conv_mma" in kernel for kernel in stand_in.launched)
    launched = len(stand_in.launched)
    found = []
    for device in ("cpu", "auto"):
        assert main(["evaluate", run, "--split", "val", "--device", device, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["metrics"]["loss"])
        assert (len(stand_in.launched) > launched) == (device == "auto")
    assert found == pytest.approx([after["loss"]] * 2, rel=1e-5)
    assert main(["predict", run, photos, "--recursive", "--device", "cuda", "--format", "jsonl"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_no_such_gpu(stand_in, photos, capsys):
    assert main(["finetune", "--data", photos, "--device", "cuda:3"]) == 2
    assert "--device cuda:3: there is no device cuda:3: this machine has 1 GPU" in capsys.readouterr().err


def test_the_norm_of_all_gradients_takes_two_launches(stand_in):
    model = mr.nn.Sequential(mr.nn.Conv2d(3, 4, 3), mr.nn.Linear(6, 5), mr.nn.Linear(5, 5000))
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = mr.full_like(parameter, 0.25 * (number + 1))
    expected = gradient_norm(model.parameters())
    model.cuda()
    for parameter in model.parameters():
        parameter.grad = parameter.grad.cuda()
    stand_in.launched.clear()
    assert gradient_norm(model.parameters()) == pytest.approx(expected, rel=1e-6)
    assert stand_in.launched == ["gradient_squares<float>", "clip_factor"]
    model[0].weight.grad.mul_(1e30)  # whose square float32 does not hold
    assert gradient_norm(model.parameters()) == pytest.approx(0.25e30 * 108**0.5, rel=1e-6)
    model[1].bias.grad[0] = float("inf")
    assert gradient_norm(model.parameters()) == float("inf")


@pytest.mark.parametrize("value", [3.0, float("inf"), float("nan")])
def test_unscaling_asks_once_whether_all_is_finite(value, stand_in):
    model = mr.nn.Sequential(mr.nn.Linear(6, 5), mr.nn.Linear(5, 4)).cuda()
    optimizer, scaler = mr.optim.SGD(model.parameters(), lr=1.0), mr.amp.GradScaler(init_scale=4.0)
    scaler.scale(mr.ones(1).cuda())
    for parameter in model.parameters():
        parameter.grad = mr.full_like(parameter, 2.0)
    model[1].bias.grad[2] = value
    before = model[0].weight.detach().cpu().numpy().copy()
    stand_in.launched.clear()
    scaler.unscale_(optimizer)
    assert stand_in.launched == ["gradient_squares<float>", "clip_factor"]
    assert (model[0].weight.grad == 0.5).all() and model[1].bias.grad[0].item() == 0.5
    scaler.step(optimizer)
    scaler.update()
    moved = before - model[0].weight.detach().cpu().numpy()
    assert np.allclose(moved, 0.5 if value == 3.0 else 0.0)
    assert scaler.get_scale() == (4.0 if value == 3.0 else 2.0)


@pytest.fixture
def factors(monkeypatch):
    """What each launch of SGD or Adam was asked to multiply the gradients by."""
    found, launch = [], on_gpu.launch

    def noting(name, parameters, grads, states, rates, factor, **numbers):
        found.append(factor)
        launch(name, parameters, grads, states, rates, factor, **numbers)

    monkeypatch.setattr(on_gpu, "launch", noting)
    return found


MAKERS = {
    "SGD": lambda p: mr.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "AdamW": lambda p: mr.optim.AdamW(p, lr=0.01, maximize=True),
    "capturable": lambda p: mr.optim.Adam(p, lr=0.01, weight_decay=0.1, capturable=True),
}


def scaled_steps(name, prepare, scale=2.0**10):
    """(parameters, gradients) after three steps with a GradScaler, the second with an infinity among the gradients."""
    random = np.random.default_rng(0)
    parameters = [mr.nn.Parameter(mr.tensor(random.standard_normal(shape).astype(np.float32)).cuda())
                  for shape in [(3, 4), (5,), (2, 3, 2, 2)]]  # fmt: skip
    optimizer, scaler = MAKERS[name](parameters), mr.amp.GradScaler(init_scale=scale)
    gradients = []
    for step in range(3):
        for parameter in parameters:
            values = random.standard_normal(parameter.shape).astype(np.float32) * np.float32(scaler.get_scale())
            parameter.grad = mr.tensor(values).cuda()
            if step != 1:  # a gradient in another memory order than its parameter
                parameter.grad = mr.tensor(np.asfortranarray(values).T.copy()).cuda().permute(*range(values.ndim)[::-1])
        if step == 1:
            parameters[1].grad[0] = np.inf
        prepare(scaler, optimizer)
        scaler.step(optimizer)
        scaler.update()
        gradients += [parameter.grad.cpu().numpy() for parameter in parameters]
    assert scaler.get_scale() == scale / 2
    return [parameter.detach().cpu().numpy() for parameter in parameters], gradients


@pytest.mark.parametrize("name", list(MAKERS))
def test_the_step_takes_the_scale_off_the_gradients(name, stand_in, factors):
    """Parameters, and the gradients themselves, are afterwards as they are when `unscale_` came first."""
    ours, ours_grads = scaled_steps(name, lambda scaler, optimizer: None)
    first = 2.0**-10 if name == "capturable" else 1.0  # the others make their state in the first step, one by one
    assert set(factors) == {first, 2.0**-9}, "the second step was skipped"
    factors.clear()
    theirs, their_grads = scaled_steps(name, lambda scaler, optimizer: scaler.unscale_(optimizer))
    assert set(factors) == {1.0}
    for a, b in zip(ours + ours_grads, theirs + their_grads, strict=True):
        assert np.allclose(a, b, rtol=1e-6, atol=1e-7, equal_nan=True)


def test_a_hook_before_the_step_sees_unscaled_gradients(stand_in, factors):
    seen = []

    def prepare(scaler, optimizer):
        if not optimizer.step_pre_hooks:
            optimizer.register_step_pre_hook(
                lambda opt, *_: seen.append(opt.param_groups[0]["params"][1].grad.tolist())
            )

    _, gradients = scaled_steps("SGD", prepare)
    assert set(factors) == {1.0} and np.allclose(seen, [gradients[1], gradients[7]])


@pytest.mark.parametrize("amp", [None, "float16"])
def test_a_trainers_step_unscales_and_clips(amp, stand_in, factors, monkeypatch):
    results = []
    for folds in (True, False):
        factors.clear()
        monkeypatch.setattr(mr.optim.SGD, "folds", folds)
        trainer = a_trainer(amp)
        trainer.clip_grad = 0.05
        trainer.fit(batches(), epochs=2)
        unfolded = {number for number, factor in enumerate(factors) if factor == 1}
        assert len(unfolded) == (5 if folds else len(factors)), "the first step makes the state of each parameter"
        assert not amp or max(set(factors) - {1.0}, default=0) <= 2.0**-16
        results.append([p.detach().cpu().numpy() for p in trainer.model.parameters()])
    assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*results, strict=True))
