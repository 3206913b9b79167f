"""Tensors, modules and optimizers on a GPU, with the stand-in for CuPy; and what is said where there is no GPU."""

import importlib.util
import subprocess
import sys
import weakref

import numpy as np
import pytest

import minires as mr
from minires import backend, kernels
from minires.kernels.cuda import adapters
from tests.cuda import fake_streams
from tests.cuda.harness import needs_emulator

HAS_NONE = "CUDA needs CuPy: pip install|CUDA needs an NVIDIA GPU"
on_stand_in = pytest.mark.usefixtures("stand_in")


@pytest.mark.parametrize("ask", [
    lambda: mr.zeros(2, device="cuda"), lambda: mr.ones(2).cuda(), lambda: mr.ones(2).to("cuda:1"),
    lambda: mr.nn.Linear(2, 2).cuda(), lambda: mr.nn.Linear(2, 2, device="cuda"), lambda: mr.ones(2).pin_memory(),
    lambda: mr.cuda.synchronize(), lambda: mr.cuda.Stream(), lambda: mr.cuda.memory_allocated(),
    lambda: mr.cuda.get_device_name(), lambda: mr.cuda.graph(mr.cuda.CUDAGraph()).__enter__(),
])  # fmt: skip
def test_without_a_gpu_one_line_says_so(ask, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it were not installed
    with pytest.raises(RuntimeError, match=HAS_NONE) as caught:
        ask()
    assert "\n" not in str(caught.value)
    assert mr.cuda.is_available() is mr.cuda.is_bf16_supported() is False and mr.cuda.device_count() == 0


def test_importing_does_not_ask_for_cupy():
    code = "import sys, minires; minires.cuda, minires.amp; sys.exit('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@on_stand_in
def test_moving():
    values = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2)
    x = mr.tensor(values, requires_grad=True)
    y = x.to("cuda")
    assert y.is_cuda and y.device == "cuda:0" and y.array.strides == x.array.strides, "the memory order is kept"
    assert y.to("cuda:0") is y and mr.device("cuda:0") == y.device and y.to("cuda") is y
    (y * 2).sum().backward()
    assert not x.grad.is_cuda and np.array_equal(x.grad.numpy(), np.full(x.shape, 2, np.float32))
    assert y.detach().to("cpu", mr.float64).dtype == mr.float64
    with pytest.raises(RuntimeError, match=r"no device cuda:3: this machine has 1 GPU$"):
        x.to("cuda:3")
    with pytest.raises(RuntimeError, match=r"use tensor.cpu\(\) first"):
        y.detach().numpy()


@on_stand_in
def test_two_devices_do_not_mix():
    x, y = mr.ones(3).cuda(), mr.ones(3)
    with pytest.raises(RuntimeError, match="same device, but found cuda:0 and cpu"):
        x + y
    assert (x + mr.tensor(2.0)).tolist() == (mr.tensor(2.0) + x).tolist() == [3, 3, 3], "numbers are taken along"
    with pytest.raises(TypeError, match="the kernel set reference is for arrays on the CPU"), kernels.use("reference"):
        x.relu()


@on_stand_in
@pytest.mark.parametrize("make", [
    lambda **d: mr.zeros(2, 3, **d), lambda **d: mr.ones(2, **d), lambda **d: mr.full((2,), 7.0, **d),
    lambda **d: mr.arange(5, **d), lambda **d: mr.linspace(0, 1, 3, **d), lambda **d: mr.eye(2, **d),
    lambda **d: mr.rand(2, **d), lambda **d: mr.randn(2, **d), lambda **d: mr.randint(9, (2,), **d),
    lambda **d: mr.randperm(4, **d), lambda **d: mr.tensor([1.0, 2.0], **d),
    lambda **d: mr.ones_like(mr.zeros(2, **d)), lambda **d: mr.rand_like(mr.zeros(2, **d)),
    lambda **d: mr.zeros(2, **d).new_full((3,), 2.0), lambda **d: mr.bernoulli(mr.full((4,), 0.5, **d)),
    lambda **d: mr.multinomial(mr.ones(4, **d), 2), lambda **d: mr.normal(mr.zeros(3, **d), 1.0),
])  # fmt: skip
def test_made_on_a_device(make):
    mr.manual_seed(3)
    ours = make(device="cuda")
    mr.manual_seed(3)
    expected = make()
    assert ours.is_cuda and ours.dtype == expected.dtype and ours.cpu().tolist() == expected.tolist()


@on_stand_in
def test_changed_in_place_on_a_device():
    x = mr.zeros(2, 2).cuda()
    x[0, 1] = 5.0
    assert x.fill_diagonal_(1.0).tolist() == [[1, 5], [0, 1]] and 5 in x
    assert x.normal_().uniform_().random_(3).zero_().fill_(2.0).is_cuda and x.tolist() == [[2, 2], [2, 2]]
    assert repr(x[0]) == "tensor([2., 2.])" and f"{x[0, 0]:.1f}" == "2.0"


@on_stand_in
def test_states_go_from_device_to_device(tmp_path):
    there, here = network().cuda(), network()
    mr.save(there.state_dict(), tmp_path / "there.safetensors")
    here.load_state_dict(mr.load(tmp_path / "there.safetensors"))
    there.load_state_dict(here.state_dict())
    assert all(p.is_cuda for p in there.parameters()) and not any(p.is_cuda for p in here.parameters())


@on_stand_in
def test_dlpack_shares_memory():
    x = mr.ones(3).cuda()
    y = mr.from_dlpack(x)
    y += 1
    assert y.is_cuda and x.tolist() == [2, 2, 2] and x.__dlpack_device__() == (2, 0)


@on_stand_in
def test_pinned_memory_and_the_loader():
    x = mr.tensor(np.arange(6.0).reshape(2, 3).T)
    pinned = x.pin_memory()
    assert pinned.is_pinned() and pinned.T.is_pinned() and not x.is_pinned()
    assert pinned.tolist() == x.tolist() and pinned.array.strides == x.array.strides
    assert pinned.to("cuda", non_blocking=True).tolist() == x.tolist()
    with pytest.raises(RuntimeError, match="only arrays on the CPU can be pinned"):
        x.cuda().pin_memory()
    data = mr.data.TensorDataset(mr.ones(5, 2), mr.arange(5))
    for workers in (0, 2):
        for images, labels in mr.data.DataLoader(data, batch_size=2, num_workers=workers, pin_memory=True):
            assert images.is_pinned() and labels.is_pinned()
    for images, _ in mr.data.DataLoader(data, batch_size=2):
        assert not images.is_pinned()


@on_stand_in
def test_what_torch_cuda_says(stand_in):
    cuda = mr.cuda
    assert cuda.is_available() and cuda.device_count() == 1 and cuda.current_device() == 0
    assert cuda.get_device_name() == "stand-in" and cuda.get_device_capability() == (9, 0)
    before = cuda.memory_allocated()
    x = mr.zeros(1000, device="cuda")
    assert cuda.memory_allocated() - before >= x.nbytes and cuda.memory_reserved() >= cuda.memory_allocated()
    assert cuda.mem_get_info() == (70 << 30, 80 << 30)
    cuda.synchronize()
    cuda.empty_cache()
    assert cuda.is_bf16_supported() == (importlib.util.find_spec("ml_dtypes") is not None)
    with cuda.device(0), cuda.stream(cuda.Stream()) as nothing:
        assert nothing is None
    start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    start.record()
    end.record()
    assert start.elapsed_time(end) == 1.0 and end.query()
    with pytest.raises(RuntimeError, match="enable_timing"):
        cuda.Event().elapsed_time(end)
    with pytest.raises(ValueError, match="expected a cuda device, but got: cpu"):
        cuda.synchronize("cpu")


@on_stand_in
def test_pinned_memory_is_kept_until_it_is_copied():
    batch = mr.ones(3).pin_memory()
    address = weakref.ref(backend.memory_owner(batch.array))
    with fake_streams.slow():
        batch.to("cuda", non_blocking=True)
        del batch
        mr.ones(3).to("cuda", non_blocking=True)  # from memory that is not pinned CuPy copies by itself
        mr.ones(2).pin_memory().to("cuda", non_blocking=True)
        assert len(backend._in_flight) == 2 and address() is not None
    mr.ones(2).pin_memory().to("cuda", non_blocking=True)
    assert len(backend._in_flight) == 1 and address() is None


def test_every_kernel_has_a_version_for_a_gpu():
    """But for the way around an array that the CPU alone takes: ops/conv1x1_norm.py."""
    missing = {name for name, versions in kernels.TABLE.items() if "cuda" not in versions}
    assert missing == set(kernels.reference.conv1x1_norm.__all__)
    assert len(adapters.FAMILIES) == len(kernels.reference.FAMILIES) - 2, "conv_act stands with conv"


@on_stand_in
def test_float64_goes_through_the_cpu_where_no_expression_computes_it(monkeypatch):
    monkeypatch.setattr(adapters.float64, "_told", set())
    x, w = mr.ones(1, 1, 3, 3, dtype=mr.float64).cuda(), mr.ones(1, 1, 1, 1, dtype=mr.float64).cuda()
    with pytest.warns(RuntimeWarning, match="conv2d_forward in float64 is computed on the CPU"):
        y = mr.nn.functional.conv2d(x, w)
    assert y.device == "cuda:0" and y.dtype == mr.float64 and y.tolist() == x.tolist()
    mr.nn.functional.conv2d(x, w)  # is told once
    assert mr.softmax(mr.ones(2, dtype=mr.float64).cuda(), 0).tolist() == [0.5, 0.5]


@needs_emulator
@pytest.mark.parametrize("shape", [(7,), (5, 6), (2, 3, 4), (2, 8, 3, 5)])
def test_dropout_draws_on_the_gpu_what_the_cpu_draws(shape, stand_in):
    results = []
    for device in ("cuda", "cpu"):
        mr.manual_seed(5)
        x = mr.ones(shape, device=device, requires_grad=True)
        y = mr.nn.functional.dropout(x, 0.4)
        (y * 3).sum().backward()
        results.append((y.detach().cpu().numpy(), x.grad.cpu().numpy()))
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(*results, strict=True))
    assert stand_in.launched.count("dropout<float>") == 2


def network():
    mr.manual_seed(1)
    nn = mr.nn
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(8, 4))  # fmt: skip


def trained(make_optimizer, device, steps=3):
    """(losses, parameters) after a few steps."""
    model = network().to(device)
    optimizer = make_optimizer(model.parameters())
    random = np.random.default_rng(0)
    images = mr.tensor(random.standard_normal((4, 3, 6, 6)).astype(np.float32), device=device)
    labels = mr.tensor(np.array([0, 1, 2, 3]), device=device)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = mr.nn.functional.cross_entropy(model(images), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [p.detach().cpu().numpy() for p in model.parameters()]


OPTIMIZERS = {
    "SGD": lambda p: mr.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "SGD without momentum": lambda p: mr.optim.SGD(p, lr=0.1),
    "AdamW": lambda p: mr.optim.AdamW(p, lr=0.01),
    "AMSGrad": lambda p: mr.optim.Adam(p, lr=0.01, amsgrad=True),
    "RMSprop": lambda p: mr.optim.RMSprop(p, lr=0.01),
}


@needs_emulator
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_training_as_on_the_cpu(name, stand_in):
    losses, parameters = trained(OPTIMIZERS[name], "cuda")
    launched = list(stand_in.launched)
    expected, there = trained(OPTIMIZERS[name], "cpu")
    assert np.allclose(losses, expected, atol=1e-4)
    for ours, theirs in zip(parameters, there, strict=True):
        assert np.allclose(ours, theirs, atol=2e-3)
    of_optimizer = [kernel for kernel in launched if kernel.startswith(("sgd_step", "adam_step"))]
    singly = 0 if name in ("SGD without momentum", "RMSprop") else len(parameters)  # the first step makes the state
    together = {"RMSprop": 0, "SGD without momentum": 3}.get(name, 2)
    assert len(of_optimizer) == singly + together


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_training_on_the_gpu(name):
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("CuPy finds no GPU")
    (losses, parameters), (expected, there) = (trained(OPTIMIZERS[name], device, 5) for device in ("cuda", "cpu"))
    assert np.allclose(losses, expected, atol=1e-3)
    assert all(np.allclose(ours, theirs, atol=5e-3) for ours, theirs in zip(parameters, there, strict=True))


@pytest.mark.gpu
def test_a_graph_on_the_gpu():
    """A captured forward and backward gives, replayed on new values, what it gives in the usual way."""
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("CuPy finds no GPU")
    model = network().cuda()

    def step(images, labels):
        model.zero_grad(set_to_none=False)
        loss = mr.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    graphed, labels = mr.cuda.GraphedCallable(step), mr.arange(4).cuda()
    for seed in range(6):
        mr.manual_seed(seed)
        images = mr.randn(4, 3, 6, 6).cuda()
        loss, gradients = graphed(images, labels).item(), [p.grad.cpu().numpy() for p in model.parameters()]
    assert graphed.replays == 3 and not graphed.reasons
    expected = step(images, labels).item()
    assert np.isclose(loss, expected, atol=1e-5)
    for ours, parameter in zip(gradients, model.parameters(), strict=True):
        assert np.allclose(ours, parameter.grad.cpu().numpy(), atol=1e-4)


@needs_emulator
def test_a_state_moves_with_its_parameters(stand_in):
    model = network()
    optimizer = OPTIMIZERS["SGD"](model.parameters())
    model(mr.ones(2, 3, 6, 6)).sum().backward()
    optimizer.step()
    saved = optimizer.state_dict()
    moved = network().cuda()
    optimizer = OPTIMIZERS["SGD"](moved.parameters())
    optimizer.load_state_dict(saved)
    assert all(state["momentum_buffer"].is_cuda for state in optimizer.state.values())
    assert {p.device for p in moved.parameters()} == {mr.device("cuda:0")}
    assert not any(value.is_cuda for value in moved.cpu().state_dict().values())


@on_stand_in
@pytest.mark.parametrize("write", [
    lambda y: y[0].mul_(3), lambda y: y.t()[1].add_(1), lambda y: y[:, ::2].mul_(y[:, 1:2].detach()),
    lambda y: y.flip(0)[1:].zero_(), lambda y: y.reshape(-1)[2:5].exp_(), lambda y: y[:0].add_(1),
    lambda y: y.__setitem__((1, slice(None, None, 2)), 7.0), lambda y: y.t()[:2].copy_(mr.ones(2, 2)),
])  # fmt: skip
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_writing_into_a_view_that_requires_grad(write, order):
    found = []
    for place in ("cuda", "cpu"):
        x = mr.arange(6.0).reshape(2, 3).permute(order).to(place).requires_grad_()
        y = x * 2
        view = y[1]
        write(y if order == (0, 1) else y.t())
        (y * y + view.sum()).sum().backward()
        found.append((y.tolist(), x.grad.tolist(), view.tolist()))
    assert found[0] == found[1]


@needs_emulator
@pytest.mark.parametrize(("how", "launches"), [
    ({"size": (5, 9)}, 1), ({"scale_factor": 2}, 1), ({"scale_factor": 1.5}, 1), ({"scale_factor": (1, 0.5)}, 1),
    ({"scale_factor": 1.3}, 0), ({"size": (5, 9), "align_corners": True}, 0), ({"size": (3, 3), "antialias": True}, 0),
    ({"size": (5, 9), "mode": "bicubic"}, 0),
])  # fmt: skip
def test_bilinear_resizing_takes_one_launch(how, launches, stand_in):
    found = []
    for place in ("cuda", "cpu"):
        mr.manual_seed(0)
        x = mr.randn(2, 3, 4, 6, device=place, requires_grad=True)
        y = mr.nn.functional.interpolate(x, **{"mode": "bilinear", **how})
        (y * y).sum().backward()
        found.append((y.detach().cpu().numpy(), x.grad.cpu().numpy()))
    assert all(np.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(*found, strict=True))
    assert len([kernel for kernel in stand_in.launched if "bilinear_resize" in kernel]) == launches
