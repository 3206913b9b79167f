"""CUDA graphs with the stand-in for CuPy: the order of calls, what cannot be captured, when none is replayed."""

import numpy as np
import pytest

import minires as mr
from minires.amp.autocast import Casts
from tests.cuda.harness import needs_emulator

pytestmark = needs_emulator


def test_capture_and_replay(stand_in):
    captured, x = mr.cuda.CUDAGraph(), mr.ones(3).cuda()
    with pytest.raises(RuntimeError, match="holds nothing"):
        captured.replay()
    assert not mr.cuda.is_current_stream_capturing()
    with mr.cuda.graph(captured):
        assert mr.cuda.is_current_stream_capturing()
        x * 2
    captured.replay()
    captured.replay()
    assert len(stand_in.replayed) == 2
    captured.reset()
    with pytest.raises(RuntimeError, match="holds nothing"):
        captured.replay()


@pytest.mark.parametrize(("work", "message"), [
    (lambda: mr.ones(3).cuda(), "a copy from the CPU"),
    (lambda: mr.nn.functional.dropout(DEVICE["x"], 0.5), "dropout would draw the same"),
    (lambda: mr.optim.AdamW([DEVICE["weight"]]).step(), "instance of AdamW but param_groups' capturable is False"),
    (lambda: mr.optim.RMSprop([DEVICE["weight"]]).step(), "instance of RMSprop but .* other optimizers step outside"),
    (lambda: mr.optim.SGD([DEVICE["weight"]], momentum=0.9).step(), "must .* have made a step before the capture"),
    (lambda: mr.optim.Adam([DEVICE["weight"]], capturable=True).step(), "must .* have made a step before the capture"),
])  # fmt: skip
def test_what_cannot_be_captured_says_so(work, message, stand_in):
    DEVICE.update(x=mr.ones(3).cuda(), weight=mr.nn.Parameter(mr.ones(3).cuda()))
    DEVICE["weight"].grad = mr.ones(3).cuda()
    captured = mr.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match=message), mr.cuda.graph(captured):
        work()
    assert captured.graph is None and not mr.cuda.is_current_stream_capturing()
    DEVICE.clear()


DEVICE = {}


def test_a_training_step_is_replayed(stand_in):
    model = mr.nn.Linear(3, 2).cuda()

    def step(x, labels):
        model.zero_grad(set_to_none=False)
        loss = mr.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        return loss

    graphed = mr.cuda.GraphedCallable(step, warmup=2)
    x, labels = mr.ones(4, 3).cuda(), mr.tensor(np.array([0, 1, 0, 1])).cuda()
    for _ in range(5):
        loss = graphed(x, labels)
    assert graphed.replays == 3 and len(stand_in.replayed) == 3 and not graphed.reasons
    assert loss is graphed.outputs
    graphed(x * 5, labels)
    assert graphed.inputs[0].tolist() == [[5, 5, 5]] * 4, "values come in by copying"


OPTIMIZERS = {
    "SGD": lambda p, capturable: mr.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "SGD without momentum": lambda p, capturable: mr.optim.SGD(p, lr=0.1),
    "AdamW": lambda p, capturable: mr.optim.AdamW(p, lr=0.01, capturable=capturable),
    "AMSGrad": lambda p, capturable: mr.optim.Adam(p, lr=0.01, amsgrad=True, capturable=capturable),
}


def whole_step(name, capturable=True):
    """(parameters, a function that makes one step of training and returns the loss, the optimizer), on the GPU."""
    mr.manual_seed(0)
    model = mr.nn.Sequential(mr.nn.Linear(3, 5), mr.nn.ReLU(), mr.nn.Linear(5, 2)).cuda()
    parameters = list(model.parameters())
    optimizer = OPTIMIZERS[name](parameters, capturable)

    def step(x, labels):
        optimizer.zero_grad(set_to_none=False)
        loss = mr.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return parameters, step, optimizer


def batches(count):
    random = np.random.default_rng(1)
    return [(mr.tensor(random.standard_normal((4, 3)).astype(np.float32)).cuda(),
             mr.tensor(random.integers(0, 2, 4)).cuda()) for _ in range(count)]  # fmt: skip


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_an_optimizers_step_is_captured(name, stand_in):
    """The stand-in computes while it captures: the numbers are those of a step in the usual way."""
    parameters, step, optimizer = whole_step(name)
    expected, plainly, _ = whole_step(name, capturable=False)
    *before, last = batches(3)
    for batch in before:
        step(*batch)
    for batch in [*before, last]:
        plainly(*batch)
    captured, outside = mr.cuda.CUDAGraph(), len(stand_in.launched)
    with mr.cuda.graph(captured):
        step(*last)
    for ours, theirs in zip(parameters, expected, strict=True):
        assert np.allclose(ours.detach().cpu().numpy(), theirs.detach().cpu().numpy(), atol=1e-6)
    launches = [kernel for kernel in stand_in.launched[outside:] if kernel.startswith(("sgd", "adam"))]
    assert launches == (["sgd_step<float>"] if name.startswith("SGD") else ["adam_advance", "adam_step<float>"])
    assert captured.constants, "what the launches read lives as long as the graph"
    if not name.startswith("SGD"):
        assert [optimizer.state[parameter]["step"].item() for parameter in parameters] == [3] * 4
    captured.replay()
    captured.reset()
    assert not captured.constants and not mr.backend._of_graphs


def test_steps_counted_on_the_gpu_are_saved_and_loaded(stand_in):
    (first, step, optimizer), (batch,) = whole_step("AdamW"), batches(1)
    step(*batch)
    state = optimizer.state_dict()
    assert state["state"][0]["step"].is_cuda and state["param_groups"][0]["capturable"]
    second, other, loaded = whole_step("AdamW", capturable=False)
    for ours, theirs in zip(second, first, strict=True):
        ours.data.copy_(theirs.data)
    loaded.load_state_dict(state)
    assert loaded.state[second[0]]["step"].is_cuda and loaded.state[second[0]]["step"].item() == 1
    step(*batch)
    with mr.cuda.graph(mr.cuda.CUDAGraph()):
        other(*batch)
    assert [p.detach().tolist() for p in first] == [p.detach().tolist() for p in second]


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_replayed_steps_train_as_others_do(name):
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("CuPy finds no GPU")
    parameters, step, _ = whole_step(name)
    expected, plainly, _ = whole_step(name, capturable=False)
    graphed = mr.cuda.GraphedCallable(step, warmup=2)
    for batch in batches(8):
        assert np.isclose(graphed(*batch).item(), plainly(*batch).item(), atol=1e-5)
    assert graphed.replays == 6 and not graphed.reasons
    for ours, theirs in zip(parameters, expected, strict=True):
        assert np.allclose(ours.detach().cpu().numpy(), theirs.detach().cpu().numpy(), atol=1e-4)


@pytest.mark.parametrize(("other", "reason"), [
    (lambda: mr.ones(2, 3), "argument 0 is on the CPU"),
    (lambda: mr.ones(2, 3).cuda(), r"is float32 of shape \(2, 3\), the captured one float32 of shape \(4, 3\)"),
])  # fmt: skip
def test_other_arguments_run_in_the_usual_way(other, reason, stand_in):
    graphed = mr.cuda.GraphedCallable(lambda x: x * 2, warmup=0)
    graphed(mr.ones(4, 3).cuda())
    with pytest.warns(RuntimeWarning, match=reason):
        result = graphed(other())
    assert result.tolist() == [[2, 2, 2]] * 2
    graphed(other())  # the warning comes once
    assert graphed.replays == 1


def amp_step(model, dtype, scaler=None):
    def step(x, labels):
        model.zero_grad(set_to_none=False)
        with mr.amp.autocast("cuda", dtype):
            loss = mr.nn.functional.cross_entropy(model(x), labels)
        (loss if scaler is None else scaler.scale(loss)).backward()
        return loss

    return step


def test_a_step_in_bfloat16_is_captured_with_its_casts(stand_in):
    pytest.importorskip("ml_dtypes")
    model = mr.nn.Sequential(mr.nn.Conv2d(8, 8, 3), mr.nn.BatchNorm2d(8), mr.nn.Flatten(), mr.nn.Linear(8, 2)).cuda()
    x, labels = mr.randn(4, 8, 3, 3).cuda(), mr.tensor(np.array([0, 1, 0, 1])).cuda()
    graphed = mr.cuda.GraphedCallable(amp_step(model, "bfloat16"), warmup=1)
    for _ in range(3):
        graphed(x, labels)
    assert graphed.replays == 2 and not graphed.reasons


def test_a_narrow_copy_from_before_the_capture_is_not_used_in_it(stand_in):
    weight, casts = mr.nn.Parameter(mr.ones(2, 2).cuda()), Casts(mr.float16, True)
    kept = casts.narrow(weight)
    assert casts.narrow(weight) is kept
    with mr.cuda.graph(mr.cuda.CUDAGraph()):
        assert casts.narrow(weight) is not kept, "replays would read the weights of the time of the capture"
    assert casts.narrow(weight) is kept


def test_a_step_with_a_scaler_runs_in_the_usual_way(stand_in):
    model = mr.nn.Linear(3, 2).cuda()
    graphed = mr.cuda.GraphedCallable(amp_step(model, "float16", mr.amp.GradScaler()), warmup=0)
    with pytest.warns(RuntimeWarning, match="cannot be captured: the scale comes from the CPU"):
        loss = graphed(mr.ones(4, 3).cuda(), mr.tensor(np.array([0, 1, 0, 1])).cuda())
    assert np.isfinite(loss.item()) and graphed.replays == 0


def test_a_function_that_cannot_be_captured_runs_in_the_usual_way(stand_in):
    graphed = mr.cuda.GraphedCallable(lambda x: mr.nn.functional.dropout(x, 1.0), warmup=0)
    with pytest.warns(RuntimeWarning, match="cannot be captured: dropout would draw the same"):
        assert graphed(mr.ones(2).cuda()).tolist() == [0, 0]
    assert graphed(mr.ones(2).cuda()).tolist() == [0, 0] and graphed.replays == 0
