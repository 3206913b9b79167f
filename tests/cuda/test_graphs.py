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
    (lambda: DEVICE["optimizer"].step(), "an optimizer's numbers come from the CPU"),
])  # fmt: skip
def test_what_cannot_be_captured_says_so(work, message, stand_in):
    weight = mr.nn.Parameter(mr.ones(3).cuda())
    DEVICE.update(x=mr.ones(3).cuda(), optimizer=mr.optim.SGD([weight], lr=0.1))
    weight.grad = mr.ones(3).cuda()
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
