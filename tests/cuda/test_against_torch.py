"""minires on a GPU against torch on the same GPU: operations, convolutions in four types, training, graphs, DLPack.

Each check runs in two places: `pytest -m gpu` on CuPy and torch's cuda, where a check is skipped without either; and
always, in small, on the stand-in for CuPy and torch's cpu, so that no check is broken when a GPU comes.
"""

import functools

import numpy as np
import pytest

import minires as mr
from minires.backend import move
from minires.kernels.cuda import autotune, convs, loader, switches
from minires.ops.table import TABLE
from minires.random import philox
from tests.cuda.harness import needs_emulator
from tests.cuda.test_operations import Case, evaluate
from tests.ops.helpers import cotangents, floats

torch = pytest.importorskip("torch")

ENTRIES = {entry.label: entry for entry in TABLE if entry.torch}
QUICK = ("conv2d", "batch_norm", "linear", "cross_entropy", "max_pool2d", "softmax", "group_norm", "interpolate")
# ||ours - exact|| / ||exact||: rounding of the operands and of the result, with sums in float32
ALLOWED = {"float32": 1e-5, "tf32": 1e-3, "float16": 2e-3, "bfloat16": 1e-2}
# batch, side, channels, outputs, window, stride, groups: kinds of a ResNet-50's, ResNeXt's and MobileNet's layers
SHAPES = [(8, 56, 64, 64, 3, 1, 1), (8, 56, 64, 256, 1, 1, 1), (8, 56, 128, 128, 3, 2, 1), (8, 28, 512, 128, 1, 1, 1),
          (8, 56, 256, 512, 1, 2, 1), (8, 14, 256, 256, 3, 1, 1), (8, 7, 512, 512, 3, 1, 1), (8, 224, 3, 64, 7, 2, 1),
          (8, 14, 512, 512, 3, 1, 32), (8, 28, 96, 96, 3, 1, 96), (3, 13, 20, 12, 5, 3, 2)]  # fmt: skip
SMALL = [(1, 5, 8, 8, 3, 1, 1), (2, 4, 8, 16, 1, 2, 1), (1, 5, 3, 8, 3, 2, 1)]


class Place:
    """Where a check runs: `device` of torch, `small` on the stand-in."""

    def __init__(self, device):
        self.device, self.small = device, device == "cpu"

    def theirs(self, array):
        return torch.from_numpy(np.array(array)).to(self.device)


def skip_without_gpu():
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("CuPy finds no GPU")
    if not torch.cuda.is_available():
        pytest.skip("this torch finds no GPU")


@pytest.fixture(params=[pytest.param("stand-in", marks=needs_emulator), pytest.param("gpu", marks=pytest.mark.gpu)])
def place(request, monkeypatch):
    monkeypatch.setattr(switches, "convolutions", False)
    if request.param == "stand-in":
        request.getfixturevalue("stand_in")
        return Place("cpu")
    skip_without_gpu()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return Place("cuda")


def off(ours, exact):
    """||ours - exact|| / ||exact||."""
    exact = exact.detach().cpu().double().numpy()
    return float(np.linalg.norm(move(ours.array, "cpu").astype(np.float64) - exact) / max(np.linalg.norm(exact), 1e-30))


def evaluate_torch(entry, seed, place):
    """[results, gradients] of torch's function, from the numbers that `evaluate` draws."""
    tensors = []

    def make(array, has_gradient):
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        tensors.append(place.theirs(array).requires_grad_(has_gradient and array.dtype.kind == "f"))
        return tensors[-1]

    positional, named = entry.fill(entry.draw(philox(seed, entry.label)), make)
    function = functools.reduce(getattr, entry.torch.split("."), torch)
    outcome = function.__get__(*positional) if entry.torch == "Tensor.mT" else function(*positional, **named)
    results = floats(outcome)
    for y, c in zip(results, cotangents([y.shape for y in results], np.float32, seed), strict=True):
        if y.requires_grad:
            y.backward(place.theirs(c), retain_graph=True)
    outcome = outcome if isinstance(outcome, tuple | list) else (outcome,)
    return [*outcome, *(x.grad for x in tensors if x.requires_grad)]


@pytest.mark.parametrize("label", [
    pytest.param(label, marks=() if label in QUICK else pytest.mark.slow) for label in ENTRIES
])  # fmt: skip
def test_operations(label, place):
    for seed in range(1 if place.small else 4):
        theirs = evaluate_torch(ENTRIES[label], seed, place)
        for ours, expected in zip(evaluate(ENTRIES[label], Case(seed), "cuda:0"), theirs, strict=True):
            assert (ours is None) == (expected is None)
            if isinstance(ours, np.ndarray):
                expected = expected.detach().cpu().numpy()
                assert ours.shape == expected.shape and ours.dtype == expected.dtype
                size = np.abs(expected).max(initial=1.0)
                assert np.allclose(ours, expected, rtol=0, atol=1e-4 * size, equal_nan=True)


@pytest.mark.parametrize("precision", list(ALLOWED))
@pytest.mark.parametrize("number", [
    *range(len(SMALL)), *(pytest.param(number, marks=pytest.mark.gpu) for number in range(len(SMALL), len(SHAPES)))
])  # fmt: skip
def test_convolutions(number, precision, place, monkeypatch):
    """Forward and both gradients against torch in float64, of the numbers as they are rounded."""
    convolve_and_compare(number, precision, place, monkeypatch)


def convolve_and_compare(number, precision, place, monkeypatch):
    if place.small and number >= len(SMALL):
        pytest.skip("the stand-in tries the small ones")
    monkeypatch.setattr(switches, "convolutions", precision == "tf32")
    batch, side, channels, outputs, window, stride, groups = (SMALL if place.small else SHAPES)[number]
    rng = np.random.default_rng(number)
    values = [rng.standard_normal(shape, np.float32) for shape in
              ((batch, channels, side, side), (outputs, channels // groups, window, window))]  # fmt: skip
    dtype = "float32" if precision == "tf32" else precision
    ours = [mr.tensor(value).cuda().to(dtype).requires_grad_() for value in values]
    exact = [place.theirs(x.detach().float().cpu().numpy()).double().requires_grad_() for x in ours]
    y = mr.nn.functional.conv2d(*ours, None, stride, window // 2, 1, groups)
    expected = torch.nn.functional.conv2d(*exact, None, stride, window // 2, 1, groups)
    grad = rng.standard_normal(y.shape, np.float32)
    narrow = mr.tensor(grad).cuda().to(dtype)
    y.backward(narrow)
    expected.backward(place.theirs(narrow.float().cpu().numpy()).double())
    assert y.dtype.name == dtype
    for name, found, true in (("forward", y, expected), ("input gradient", ours[0].grad, exact[0].grad),
                              ("weight gradient", ours[1].grad, exact[1].grad)):  # fmt: skip
        assert off(found.detach(), true) <= ALLOWED[precision], name


@pytest.mark.parametrize("way", ["wgmma 64", *(pytest.param(way, marks=pytest.mark.gpu) for way in (
    "wgmma 128", *convs.MATRIX_TILES, "cublas"))])  # fmt: skip
@pytest.mark.parametrize("precision", ["float16", *(pytest.param(kind, marks=pytest.mark.gpu) for kind in (
    "bfloat16", "tf32"))])  # fmt: skip
def test_every_way_of_a_convolution(way, precision, place, monkeypatch):
    """Each way that the autotuner may choose, where a layer has it."""
    if place.small and (way, precision) != ("wgmma 64", "float16"):
        pytest.skip("the stand-in tries one")
    used = []

    def fastest(work, x, layer, exact, compute, fused=""):
        has_it = way in convs.ways(work, x, layer, exact, loader.compute_capability())
        used.append(has_it)
        return way if has_it else None

    monkeypatch.setattr(autotune, "fastest", fastest)
    for number in range(1 if place.small else len(SHAPES)):
        convolve_and_compare(number, precision, place, monkeypatch)
    assert any(used) or (way.startswith("wgmma") and (precision == "tf32" or loader.compute_capability() != 90))


def test_the_autotuner(place, monkeypatch, tmp_path):
    """Every way works and agrees with the first; what is chosen is not timed again."""
    monkeypatch.setenv("MINIRES_HOME", str(tmp_path))
    mr.backends.cudnn.trials.clear()
    mr.backends.cudnn.benchmark = True
    try:
        for number in range(1 if place.small else len(SHAPES)):
            convolve_and_compare(number, "float16", place, monkeypatch)
        trials = dict(mr.backends.cudnn.trials)
        monkeypatch.setattr(autotune, "try_all", None)
        convolve_and_compare(0, "float16", place, monkeypatch)
    finally:
        mr.backends.cudnn.benchmark = False
    assert len(trials) >= 3 and not any(trial.failures for trial in trials.values())
    assert all(min(trial.milliseconds.values()) > 0 for trial in trials.values())


def networks(place):
    """(ours on the GPU, torch's with the same weights, side of the pictures)."""
    with mr.random.address(0, "test"):
        if place.small:
            layers = lambda nn: nn.Sequential(  # noqa: E731
                nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                nn.Linear(32, 10))  # fmt: skip
            ours, theirs = layers(mr.nn), layers(torch.nn)
        else:
            from tests import torch_resnet

            ours = mr.models.create("resnet18", num_classes=10)
            theirs = torch_resnet.TorchResNet(*torch_resnet.LAYERS["resnet18"], num_classes=10)
    theirs.load_state_dict({name: torch.from_numpy(np.array(value.numpy())) for name, value in
                            ours.state_dict().items()})  # fmt: skip
    return ours.cuda(), theirs.to(place.device), 6 if place.small else 64


@pytest.mark.parametrize(("optimizer", "amp"), [
    ("SGD", None), ("SGD", "bfloat16"), ("AdamW", "float16"),
    *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("SGD", "float16"), ("AdamW", None))),
])  # fmt: skip
def test_training_steps(optimizer, amp, place):
    """Losses of some steps follow torch's; in mixed precision those of torch in float32, more loosely."""
    ours, theirs, side = networks(place)
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((8, 3, side, side), np.float32), np.arange(8) % 10
    settings = {"lr": 0.02, "momentum": 0.9} if optimizer == "SGD" else {"lr": 1e-3}
    step_ours = getattr(mr.optim, optimizer)(ours.parameters(), **settings)
    step_theirs = getattr(torch.optim, optimizer)(theirs.parameters(), **settings)
    scaler = mr.amp.GradScaler(enabled=amp == "float16", init_scale=1024)
    pictures, classes = mr.tensor(x).cuda(), mr.tensor(labels).cuda()
    for _ in range(2 if place.small else 5):
        step_ours.zero_grad()
        with mr.amp.autocast("cuda", amp, enabled=amp is not None):
            loss = mr.nn.functional.cross_entropy(ours(pictures), classes)
        scaler.scale(loss).backward()
        scaler.step(step_ours)
        scaler.update()
        step_theirs.zero_grad()
        expected = torch.nn.functional.cross_entropy(theirs(place.theirs(x)), place.theirs(labels))
        expected.backward()
        step_theirs.step()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-3 if amp is None else 0.1)


@pytest.mark.parametrize("amp", [None, "bfloat16"])
def test_a_graph_gives_what_the_plain_step_gives(amp, place):
    """On the stand-in a replay does nothing: there the calls alone are tried."""
    results = []
    for graphed in (False, True):
        model, _, side = networks(place)

        def step(x, labels, model=model):
            model.zero_grad(set_to_none=False)
            with mr.amp.autocast("cuda", amp, enabled=amp is not None):
                loss = mr.nn.functional.cross_entropy(model(x), labels)
            loss.backward()
            return loss

        call = mr.cuda.GraphedCallable(step, warmup=2) if graphed else step
        rng, found = np.random.default_rng(2), []
        for _ in range(4):
            x = mr.tensor(rng.standard_normal((4, 3, side, side), np.float32)).cuda()
            loss = call(x, mr.tensor(np.arange(4)).cuda())
            found.append((loss.item(), [p.grad.cpu().numpy().copy() for p in model.parameters()]))
        assert not graphed or (call.replays == 2 and not call.reasons)
        results.append(found)
    for (plain, expected), (replayed, gradients) in zip(*results, strict=True):
        if not place.small:
            assert replayed == pytest.approx(plain, rel=1e-6)
            assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(gradients, expected, strict=True))


@pytest.mark.gpu
def test_dlpack_shares_the_memory_with_torch():
    skip_without_gpu()
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.int64):
        theirs = torch.arange(12, device="cuda").reshape(3, 4).to(dtype)
        ours = mr.from_dlpack(theirs)
        assert ours.array.data.ptr == theirs.data_ptr() and ours.device == "cuda:0"
        theirs[0, 0] = 7
        torch.cuda.synchronize()
        assert float(ours[0, 0]) == 7
        back = torch.from_dlpack(ours)
        assert back.data_ptr() == theirs.data_ptr() and back.dtype == dtype


@pytest.mark.gpu
def test_the_command_line_on_a_gpu(tmp_path, capsys):
    """`minires finetune --device cuda` in mixed precision learns the digits; without, the digits of the CPU's run."""
    from minires.cli import main

    pytest.importorskip("sklearn")
    skip_without_gpu()
    found = {}
    for name, words in (("cpu", "--device cpu"), ("cuda", "--device cuda"), ("bf16", "--device cuda:0 --amp bf16"),
                        ("fp16", "--device auto --amp")):  # fmt: skip
        run = str(tmp_path / name)
        common = ["--data", "digits", "--samples-per-class", "20", "--epochs", "3", "--output", run, "-q"]
        assert main(["finetune", *common, *words.split()]) == 0
        capsys.readouterr()
        assert main(["evaluate", run, "--split", "test", "--json"]) == 0
        found[name] = float(capsys.readouterr().out.split('"top1": ')[1].split(",")[0])
    assert min(found.values()) > found["cpu"] - 0.1, found
