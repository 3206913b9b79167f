"""A machine with two GPUs, of the stand-in: work follows the tensors, wherever "cuda" points to.

The operations one by one are in test_operations.py.
"""

import copy

import numpy as np
import pytest

import minires as mr
from tests.cuda.fake_streams import ORDER, Unordered
from tests.cuda.harness import needs_emulator
from tests.cuda.test_devices import OPTIMIZERS, network

pytestmark = [needs_emulator, pytest.mark.usefixtures("two_devices")]
cuda = mr.cuda


def test_which_one_is_meant():
    assert cuda.device_count() == 2 and cuda.current_device() == 0
    x = mr.ones(3)
    assert x.cuda().device == x.cuda(0).device == x.to("cuda").device == "cuda:0"
    assert x.cuda(1).device == x.cuda("cuda:1").device == x.to(mr.device("cuda:1")).device == "cuda:1"
    with cuda.device(1):
        assert cuda.current_device() == 1
        assert x.cuda().device == x.to("cuda").device == mr.zeros(2, device="cuda").device == "cuda:1"
        with cuda.device(None), cuda.device(-1), cuda.device("cuda:0"):
            assert x.cuda().device == "cuda:0"
        assert cuda.current_device() == 1
        with cuda.device_of(x.cuda(0)), cuda.device_of(x):
            assert cuda.current_device() == 0
    assert cuda.current_device() == 0
    cuda.set_device(1)
    assert x.cuda().device == "cuda:1" and x.cuda().get_device() == 1
    assert mr.nn.Linear(2, 2).cuda().weight.device == mr.nn.Linear(2, 2, device="cuda").weight.device == "cuda:1"
    with pytest.raises(RuntimeError, match=r"^there is no device cuda:2: this machine has 2 GPUs$"):
        x.to("cuda:2")
    with pytest.raises(RuntimeError, match="no device cuda:5"):
        cuda.set_device(5)


def test_the_device_named_cuda_is_open():
    device = mr.device("cuda")
    assert (device.type, device.index, str(device)) == ("cuda", None, "cuda") and device != "cuda:0"
    assert mr.device("cuda:1").index == 1 and repr(mr.device("cuda:1")) == "device('cuda:1')"


@pytest.mark.parametrize(("work", "name"), [
    (lambda x, y: x + y, "add"), (lambda x, y: x > y, "gt"), (lambda x, y: mr.cat([x, y]), "cat"),
    (lambda x, y: x @ y, "matmul"), (lambda x, y: mr.where(x > 0, x, y), "where"),
    (lambda x, y: mr.nn.functional.linear(x, y), "linear"),
    (lambda x, y: mr.nn.functional.mse_loss(x, y), "mse_loss"),
    (lambda x, y: mr.nn.functional.cross_entropy(x, y.argmax(1)), "cross_entropy"),
    (lambda x, y: mr.nn.functional.conv2d(x[None, None], y[None, None]), "conv2d"),
    (lambda x, y: x.gather(0, y.long()), "gather"), (lambda x, y: x.add_(y), "add"),
])  # fmt: skip
@pytest.mark.parametrize("places", [("cuda:0", "cuda:1"), ("cuda:1", "cpu"), ("cpu", "cuda:1")])
def test_devices_do_not_mix(work, name, places):
    x, y = (mr.ones(2, 2, device=place) for place in places)
    message = f"^{name}: expected all tensors to be on the same device, but found {places[0]} and {places[1]}$"
    with pytest.raises(RuntimeError, match=message):
        work(x, y)


def test_what_may_mix():
    """Numbers on the CPU, an index on the CPU, and what copies."""
    x = mr.arange(6.0).reshape(2, 3).cuda(1)
    assert (x * mr.tensor(2.0)).device == (mr.tensor(2.0) - x).device == "cuda:1"
    assert x[mr.tensor([1])].tolist() == x[[1]].tolist() == x[mr.tensor([1]).cuda(1)].tolist() == [[3, 4, 5]]
    assert x[mr.tensor([True, False])].device == "cuda:1"
    with pytest.raises(RuntimeError, match=r"indices should be .* \(cuda:1\), not on cuda:0"):
        x[mr.tensor([1]).cuda(0)]
    with pytest.raises(RuntimeError, match=r"indices should be .* \(cpu\), not on cuda:1"):
        mr.ones(3)[mr.tensor([1]).cuda(1)]
    x[0] = mr.zeros(3)
    x[1].copy_(mr.ones(3).cuda(0))
    assert x.tolist() == [[0, 0, 0], [1, 1, 1]] and x.device == "cuda:1"
    with pytest.raises(RuntimeError, match="found cuda:1 and cuda:0"):
        x + mr.tensor(2.0).cuda(0)


@pytest.mark.parametrize("change", [
    lambda x: x.fill_(2), lambda x: x.zero_(), lambda x: x.mul_(3), lambda x: x.normal_(), lambda x: x.uniform_(),
    lambda x: x.fill_diagonal_(5), lambda x: x.clamp_(max=0.5), lambda x: x.copy_(mr.ones(2, 2)),
])  # fmt: skip
def test_changed_in_place(change):
    results = []
    for place in ("cuda:1", "cpu"):
        mr.manual_seed(0)
        results.append(change(mr.ones(2, 2, device=place)))
    assert results[0].device == "cuda:1" and results[0].tolist() == results[1].tolist()


@pytest.mark.parametrize("make", [
    mr.zeros_like, mr.ones_like, mr.empty_like, lambda x: mr.full_like(x, 2), mr.rand_like, mr.randn_like,
    lambda x: x.new_zeros(2), lambda x: x.new_tensor([1.0]), lambda x: mr.bernoulli(x * 0.5), lambda x: x.clone(),
    lambda x: mr.nn.functional.dropout(x, 0.5), lambda x: x.half().float(), lambda x: mr.multinomial(x, 1),
])  # fmt: skip
def test_made_from_another(make):
    assert make(mr.ones(2, 2, device="cuda:1")).device == "cuda:1"


def test_between_devices_streams_wait_for_each_other():
    x = mr.arange(6.0).cuda(0).reshape(2, 3).t().requires_grad_()  # gathered on its own device, then copied
    with cuda.device(1):
        y = x.to("cuda:1") * 2
    assert y.device == "cuda:1" and y.tolist() == [[0, 6], [2, 8], [4, 10]]
    y.sum().backward()
    assert x.grad.device == "cuda:0" and x.grad.tolist() == [[2, 2]] * 3
    waits = {(queue, other) for what, queue, *rest in ORDER.log if what == "wait" for other in rest}
    assert waits == {((0, 0), (1, 0)), ((1, 0), (0, 0))}


def test_a_copy_that_does_not_wait_is_found(monkeypatch):
    monkeypatch.setattr(type(ORDER.streams()[0]), "wait_event", lambda self, event: None)
    with pytest.raises(Unordered):
        (mr.ones(3).cuda(0) * 2).to("cuda:1")


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_training_on_the_second(name, stand_in):
    """Without a word of `set_device`; half of the network on each GPU, and all of it on the second."""
    found = []
    images = mr.tensor(np.random.default_rng(0).standard_normal((4, 3, 6, 6)).astype(np.float32))
    for first, second in (("cpu", "cpu"), ("cuda:1", "cuda:1"), ("cuda:1", "cuda:0")):
        model = network()
        head, tail = model[:4].to(first), model[4:].to(second)
        optimizer = OPTIMIZERS[name](model.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            loss = mr.nn.functional.cross_entropy(tail(head(images.to(first)).to(second)), mr.arange(4).to(second))
            loss.backward()
            mr.nn.utils.clip_grad_norm_(head.parameters(), 0.5)
            optimizer.step()
        assert {p.device for p in head.parameters()} == {first} and {p.device for p in tail.parameters()} == {second}
        found.append([loss.item(), *(p.detach().sum().item() for p in model.parameters())])
    assert np.allclose(found[1], found[0], atol=2e-3) and np.allclose(found[2], found[0], atol=2e-3)


def test_kernels_are_loaded_for_each_device():
    from minires.kernels.cuda import loader

    for place in ("cuda:0", "cuda:1"):
        mr.nn.BatchNorm2d(8).to(place)(mr.ones(2, 8, 2, 2, device=place))
    assert loader.module("batch_norm.cu", 0) is not loader.module("batch_norm.cu", 1)


def test_mixed_precision_on_the_second():
    model = mr.nn.Linear(3, 2).cuda(1)
    optimizer, scaler = mr.optim.SGD(model.parameters(), lr=0.1), mr.amp.GradScaler(init_scale=8.0)
    with mr.amp.autocast("cuda"):
        loss = mr.nn.functional.cross_entropy(model(mr.ones(4, 3, device="cuda:1")), mr.arange(4).cuda(1) % 2)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert model.weight.device == model.weight.grad.device == "cuda:1"


def test_streams_and_events_have_devices():
    here, there = cuda.Stream(), cuda.Stream(device="cuda:1")
    assert here.device == "cuda:0" and there.device == "cuda:1" and here != there
    with cuda.stream(there):
        assert cuda.current_device() == 1 and cuda.current_stream() == there == cuda.current_stream(1)
        assert cuda.current_stream(0) == cuda.default_stream(0) != there
        x = mr.ones(3, device="cuda")
    assert x.device == "cuda:1" and cuda.current_device() == 0 and cuda.current_stream(1) == cuda.default_stream(1)
    event = there.record_event()
    event.wait()  # the present stream, of the other GPU
    assert event.query() and there.query() and cuda.Event().query()
    cuda.synchronize(1)
    assert ORDER.log[-1] == ("wait", (0, 0), (1, there.cuda_stream))
    with pytest.raises(RuntimeError, match="the tensor is on cuda:1, the stream on cuda:0"):
        x.record_stream(here)


def test_memory_is_of_one_device():
    before = cuda.memory_allocated(0), cuda.memory_allocated(1)
    x = mr.zeros(1000, device="cuda:1")
    assert cuda.memory_allocated(0) == before[0] and cuda.memory_allocated("cuda:1") - before[1] >= x.nbytes
    assert cuda.get_device_name(1) == "stand-in" and cuda.mem_get_info(1) == (70 << 30, 80 << 30)


def test_generators_of_devices():
    numbers = {}
    for place in ("cpu", "cuda:0", "cuda:1"):
        generator = mr.Generator(device=place).manual_seed(3)
        numbers[place] = mr.rand(2, generator=generator, device=place).tolist()
        assert mr.zeros(2, device=place).normal_(generator=generator).device == generator.device == place
    assert numbers["cpu"] == numbers["cuda:0"] == numbers["cuda:1"], "a seed gives the same numbers everywhere"
    with pytest.raises(RuntimeError, match="expected a generator of the device cpu, got one of cuda:1"):
        mr.rand(2, generator=mr.Generator("cuda:1"))
    with pytest.raises(RuntimeError, match="expected a generator of the device cuda:0, got one of cuda:1"):
        mr.ones(3, device="cuda").bernoulli_(generator=mr.Generator(device="cuda:1"))
    with cuda.device(1):
        mr.randperm(3, device="cuda", generator=mr.Generator("cuda"))
    mr.randint(3, (2,), device="cuda:1", generator=mr.Generator(5))  # of no device: for all


def test_seeding_by_the_names_of_torch_cuda():
    cuda.manual_seed_all(7)
    state, first = cuda.get_rng_state(), mr.rand(2, device="cuda:1").tolist()
    mr.manual_seed(7)
    assert mr.rand(2).tolist() == first and cuda.initial_seed() == 7
    cuda.set_rng_state(state)
    assert mr.rand(2, device="cuda:0").tolist() == first
    cuda.seed()
    assert cuda.initial_seed() != 7
    mr.manual_seed(0)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_where_a_checkpoint_is_loaded(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    mr.save(mr.nn.Linear(2, 2).cuda(1), path)
    for place, expected in ((None, "cpu"), ("cpu", "cpu"), ("cuda:1", "cuda:1"), (mr.device("cuda"), "cuda:0")):
        assert {tensor.device for tensor in mr.load(path, map_location=place).values()} == {expected}
    with pytest.raises(RuntimeError, match="no device cuda:2"):
        mr.load(path, "cuda:2")
    with pytest.raises(TypeError, match=r"map_location is a device, .* got function"):
        mr.load(path, map_location=lambda storage, place: storage)
    with cuda.device(1):
        model = mr.nn.Linear(2, 2).cuda()
    model.load_state_dict(mr.load(path, map_location="cuda:0"))
    assert model.weight.device == "cuda:1"


@pytest.mark.parametrize("make", [
    mr.optim.Adagrad, mr.optim.Adadelta, mr.optim.RMSprop, mr.optim.Adamax, mr.optim.NAdam, mr.optim.RAdam,
    mr.optim.Rprop, mr.optim.ASGD, mr.optim.LARS, mr.optim.LAMB, mr.optim.Lion,
    lambda p: mr.optim.SAM(p, mr.optim.SGD, lr=0.1),
], ids=lambda make: getattr(make, "__name__", "?"))  # fmt: skip
def test_other_optimizers(make):
    found = []
    for place in ("cuda:1", "cpu"):
        weight = mr.nn.Parameter(mr.arange(6.0, device=place).reshape(2, 3))
        optimizer = make([weight])
        for _ in range(2):
            optimizer.zero_grad()
            (weight * weight).sum().backward()
            if isinstance(optimizer, mr.optim.SAM):
                optimizer.first_step()
                optimizer.second_step()
            else:
                optimizer.step()
        again = make([mr.nn.Parameter(weight.detach().clone())])
        again.load_state_dict(optimizer.state_dict())
        found.append(weight.detach().cpu().numpy())
    assert np.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("use", [
    lambda p: mr.nn.utils.clip_grad_norm_(p, 0.1, error_if_nonfinite=True),
    lambda p: mr.nn.utils.clip_grad_value_(p, 0.1),
    lambda p: mr.nn.utils.vector_to_parameters(mr.zeros(20, device="cuda:1"), p),
    lambda p: mr.nn.utils.parameters_to_vector(p),
    lambda p: [mr.nn.init.kaiming_normal_(tensor) for tensor in p if tensor.ndim > 1],
    lambda p: mr.autograd.grad(sum((tensor * 2).sum() for tensor in p), p),
    lambda p: [2.0 in tensor for tensor in p],
    lambda p: [repr(tensor) + str(tensor.tolist()) for tensor in p],
    lambda p: copy.deepcopy(p),
])  # fmt: skip
def test_what_goes_beside_the_operations(use):
    model = mr.nn.Linear(4, 4).cuda(1)
    model(mr.ones(2, 4, device="cuda:1")).sum().backward()
    use(list(model.parameters()))
    assert {p.device for p in model.parameters()} == {p.grad.device for p in model.parameters()} == {"cuda:1"}


def test_a_graph_of_the_second(stand_in):
    model = mr.nn.Linear(3, 2).cuda(1)
    graphed = mr.cuda.GraphedCallable(lambda x: model(x), warmup=1)
    for _ in range(3):
        y = graphed(mr.ones(4, 3, device="cuda:1"))
    assert y.device == "cuda:1" and graphed.replays == 2 and cuda.current_device() == 0
    with pytest.warns(RuntimeWarning, match="argument 0 is on cuda:0, the captured one on cuda:1"), pytest.raises(
            RuntimeError, match="expected all tensors to be on the same device"):  # fmt: skip
        graphed(mr.ones(4, 3, device="cuda:0"))


def test_dlpack_of_the_second():
    x = mr.ones(3, device="cuda:1")
    assert x.__dlpack_device__() == (2, 1) and mr.from_dlpack(x).device == "cuda:1"


def test_models_attention_and_checkpoints_on_the_second():
    model, x = mr.models.resnet20(num_classes=3).cuda(1), mr.randn(2, 3, 8, 8, device="cuda:1")
    with pytest.raises(RuntimeError, match=r"conv2d: expected all tensors .* found cuda:0 and cuda:1"):
        model(x.to("cuda:0"))
    again = mr.utils.checkpoint.checkpoint(
        lambda t: mr.nn.functional.dropout(model(t), 0.5), x.requires_grad_(), use_reentrant=False
    )
    again.sum().backward()
    assert x.grad.device == next(copy.deepcopy(model).parameters()).device == "cuda:1"
    tokens = mr.randn(1, 3, 8, device="cuda:1")
    for layer in (mr.nn.MultiheadAttention(8, 2, batch_first=True), mr.nn.TransformerEncoderLayer(8, 2, 16),
                  mr.nn.utils.spectral_norm(mr.nn.Linear(8, 8)), mr.nn.LayerNorm(8), mr.nn.GELU()):  # fmt: skip
        given = (tokens,) * 3 if isinstance(layer, mr.nn.MultiheadAttention) else (tokens,)
        out = layer.to("cuda:1")(*given)
        assert (out[0] if isinstance(out, tuple) else out).device == "cuda:1"
    assert mr.nn.Embedding(5, 4).cuda(1)(mr.tensor([1, 2]).cuda(1)).device == "cuda:1"


def test_derivatives_on_the_second():
    x = mr.arange(6.0, dtype=mr.float64).reshape(2, 3).cuda(1).requires_grad_()
    assert mr.gradcheck(lambda t: t * t + t.sum(), (x,))
    assert mr.gradcheck(mr.nn.Linear(3, 2).double().cuda(1), (x,))
    assert mr.autograd.functional.jacobian(lambda t: (t * t).sum(0), x).device == "cuda:1"
    with pytest.raises(RuntimeError, match="the gradient is on cpu, the tensor on cuda:1"):
        (x * 1).backward(mr.ones(2, 3, dtype=mr.float64))
