"""The GPU's autotuner on the stand-in: the fastest way by a planted clock, remembered, and when nothing is timed."""

import json

import numpy as np
import pytest

import minires as mr
from minires import kernels
from minires.kernels.cuda import autotune, convs, switches
from tests.cuda.harness import needs_emulator

pytestmark = needs_emulator
SETTINGS = ((1, 1), (0, 0), (1, 1), 1)
# a part of what each way launches, and of nothing else that these tests launch
LAUNCHES = {
    "mma 128": "128, 128",
    "mma 128x64": "128, 64",
    "mma 64": "64, 64",
    "wgmma 128": "<__half, 128>",
    "wgmma 64": "<__half, 64>",
    "cublas": "product",
}
WORK = ("forward", "input_gradient", "weight_gradient")


class Clock:
    """In the place of events: the time between two is what the launches between them cost, 1 each unless said."""

    def __init__(self, cupy, monkeypatch):
        self.cupy, self.costs, self.timed = cupy, {}, []
        product = convs.product
        monkeypatch.setattr(cupy.cuda, "Event", lambda *_, **__: Mark(cupy))
        monkeypatch.setattr(cupy.cuda, "get_elapsed_time", self.elapsed)
        monkeypatch.setattr(convs, "product", lambda *given: cupy.launched.append("product") or product(*given))

    def elapsed(self, first, last):
        self.timed.append(self.cupy.launched[first.place : last.place])
        return sum(next((cost for part, cost in self.costs.items() if part in name), 1) for name in self.timed[-1])

    def plant(self, way, cost):
        """Let this way cost so much for all its launches together."""
        self.costs = {LAUNCHES[way]: cost, "pack_weights": 0, "sum_partials": 0}


class Mark:
    done = True

    def __init__(self, cupy):
        self.cupy = cupy

    def record(self, stream=None):
        self.place = len(self.cupy.launched)


@pytest.fixture
def clock(stand_in, monkeypatch):
    return Clock(stand_in, monkeypatch)


@pytest.fixture
def file(tmp_path, monkeypatch, stand_in):
    """Where the choices go; none is known, and the autotuner is off."""
    monkeypatch.setenv("MINIRES_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(autotune, "deterministic", False)
    autotune.trials.clear()
    yield tmp_path / "home" / "autotune.json"
    mr.backends.cudnn.benchmark = False
    autotune.trials.clear()


@pytest.fixture
def switched_on(file):
    mr.backends.cudnn.benchmark = True
    return file


def again():
    """As another process would begin."""
    mr.backends.cudnn.benchmark = False
    autotune.trials.clear()
    mr.backends.cudnn.benchmark = True


def compute(work="forward", side=3, dtype="float16", outputs=16):
    """One pass of a 1 x 1 layer, in NumPy's float32."""
    draws = np.random.default_rng(0)
    shapes = (2, 8, side, side), (outputs, 8, 1, 1), (2, outputs, side, side)
    x, weight, grad = (mr.tensor(draws.standard_normal(s).astype("f4")).cuda().to(dtype).array for s in shapes)
    return (
        {
            "forward": lambda: kernels.conv2d_forward(x, weight, None, *SETTINGS),
            "input_gradient": lambda: kernels.conv2d_input_gradient(grad, weight, x.shape, *SETTINGS),
            "weight_gradient": lambda: kernels.conv2d_weight_gradient(grad, x, weight.shape, *SETTINGS),
        }[work]()
        .get()
        .astype(np.float32)
    )


def the_trial():
    (trial,) = autotune.trials.values()
    return trial


@pytest.mark.parametrize("way", list(LAUNCHES))
@pytest.mark.parametrize("work", WORK)
def test_the_fastest_is_chosen_used_and_gives_the_same_numbers(work, way, switched_on, clock, stand_in):
    mr.backends.cudnn.benchmark = False
    plain = compute(work)
    mr.backends.cudnn.benchmark = True
    clock.plant(way, 0.5)
    first = compute(work)
    trial = the_trial()
    assert trial.chosen == way and list(trial.milliseconds) == list(LAUNCHES) and not trial.failures
    assert trial.milliseconds[way] == 0.5 == min(trial.milliseconds.values())
    assert len(clock.timed) == len(LAUNCHES) * autotune.TRIES
    assert abs(first - plain).max() <= 2**-9 * abs(plain).max()
    stand_in.launched.clear()
    assert (compute(work) == first).all(), "the same way, the same bits"
    assert sum(LAUNCHES[way] in name for name in stand_in.launched) == 1 and len(stand_in.launched) <= 2
    assert len(clock.timed) == len(LAUNCHES) * autotune.TRIES, "timed once"


def test_off_by_default(file, clock):
    assert mr.backends.cudnn.benchmark is mr.backends.cudnn.deterministic is False and not autotune.is_on()
    compute()
    assert clock.timed == [] and not autotune.trials and not file.exists()


def test_remembered_by_the_next_process(switched_on, clock, stand_in):
    clock.plant("mma 64", 0.5)
    first = compute()
    timed = len(clock.timed)
    clock.plant("cublas", 0.1)
    again()
    assert (compute() == first).all() and len(clock.timed) == timed
    assert the_trial() == autotune.Trial("mma 64", {}, {})
    (choices,) = json.loads(switched_on.read_text()).values()
    key = "forward 2x3x3x8 * 16x1x1x8 stride 1x1 padding 0x0 dilation 1x1 groups 1 float16"
    assert choices == {key: "mma 64"}


def test_other_shapes_types_and_devices_are_timed_anew(switched_on, clock, stand_in, monkeypatch):
    rounds = len(LAUNCHES) * autotune.TRIES
    compute()
    compute(side=4)
    compute(outputs=24)
    assert len(clock.timed) == 3 * rounds
    monkeypatch.setattr(switches, "convolutions", True)
    compute(dtype="float32")
    monkeypatch.setattr(switches, "convolutions", False)
    compute(dtype="float32")
    assert len(clock.timed) == 3 * rounds + (4 + 2) * autotune.TRIES  # mma and cuBLAS in tf32; direct and cuBLAS
    monkeypatch.setattr(stand_in.cuda.runtime, "getDeviceProperties", lambda number: {"name": b"another"})
    again()
    compute()
    assert len(clock.timed) == 4 * rounds + (4 + 2) * autotune.TRIES
    found = json.loads(switched_on.read_text())
    names = [name.split(",")[0] for name in found]
    assert names == ["another", "stand-in"] and [len(choices) for choices in found.values()] == [1, 5]


def test_two_gpus_of_one_kind_share_their_choices(two_devices, switched_on, clock, stand_in, monkeypatch):
    names = {0: b"one", 1: b"one"}
    monkeypatch.setattr(stand_in.cuda.runtime, "getDeviceProperties", lambda number: {"name": names[number]})
    rounds = len(LAUNCHES) * autotune.TRIES
    for device in (0, 1):
        with mr.cuda.device(device):
            compute()
    assert len(clock.timed) == rounds
    names[1] = b"another"
    again()
    for device in (0, 1):
        with mr.cuda.device(device):
            compute()
    assert len(clock.timed) == 2 * rounds and len(json.loads(switched_on.read_text())) == 2


def test_cublas_uses_tf32_where_the_convolution_may(switched_on, clock, stand_in, monkeypatch):
    clock.plant("cublas", 0.1)
    stand_in.compute_types.clear()
    monkeypatch.setattr(switches, "convolutions", True)
    compute(dtype="float32")
    assert stand_in.compute_types == [("float32", 7)], "though products may not"
    mr.ones(2, 2).cuda() @ mr.ones(2, 2).cuda()
    assert stand_in.compute_types == [("float32", 7), ("float32", 0)]


def test_nothing_is_timed_during_a_capture(switched_on, clock, stand_in):
    x, weight = (mr.ones(*shape, device="cuda").half().array for shape in [(2, 8, 3, 3), (16, 8, 1, 1)])
    clock.plant("cublas", 0.5)

    def captured():
        with mr.cuda.graph(mr.cuda.CUDAGraph()):
            kernels.conv2d_forward(x, weight, None, *SETTINGS)
        return stand_in.launched[-1]

    assert "64, 64" in captured() and clock.timed == [] and not autotune.trials
    kernels.conv2d_forward(x, weight, None, *SETTINGS)
    timed = len(clock.timed)
    assert timed and the_trial().chosen == "cublas"
    again()
    assert captured() == "product" and len(clock.timed) == timed, "what is remembered is used"


def test_deterministic_runs_use_rules_of_thumb(switched_on, clock, stand_in):
    clock.plant("cublas", 0.5)
    compute()
    timed = len(clock.timed)
    mr.backends.cudnn.deterministic = True
    compute()
    assert "64, 64" in stand_in.launched[-1] and not autotune.is_on()
    compute(side=4)
    assert len(clock.timed) == timed
    mr.backends.cudnn.deterministic = False
    compute()
    assert stand_in.launched[-1] == "product"


def failing(monkeypatch, ways, error):
    """Let these ways of a forward pass fail."""
    whole = convs.forward

    def forward(*given):
        if given[-1] in ways:
            raise error
        return whole(*given)

    monkeypatch.setattr(convs, "forward", forward)


@pytest.mark.parametrize("error", [MemoryError("Out of memory\nallocating 3 bytes"), RuntimeError("invalid argument")])
def test_a_way_that_fails_is_skipped_with_its_reason(error, switched_on, clock, monkeypatch):
    failing(monkeypatch, ["mma 128"], error)
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    with pytest.warns(RuntimeWarning, match=f"forward 2x3x3x8 .* the way 'mma 128' is not used: {reason}$"):
        compute()
    assert the_trial().failures == {"mma 128": reason} and len(the_trial().milliseconds) == len(LAUNCHES) - 1
    compute()  # and it is not tried again


def test_where_every_way_fails_the_rule_of_thumb_remains(switched_on, clock, monkeypatch):
    failing(monkeypatch, list(LAUNCHES), MemoryError("no memory"))
    with pytest.warns(RuntimeWarning, match="no memory"):
        compute()
    assert the_trial().chosen is None and len(the_trial().failures) == len(LAUNCHES) and not switched_on.exists()


def test_errors_of_another_kind_are_raised(switched_on, clock, monkeypatch):
    failing(monkeypatch, ["mma 64"], TypeError("a bug"))
    with pytest.raises(TypeError, match="a bug"):
        compute()
    assert not autotune.trials


@pytest.mark.parametrize("wrong", [lambda y: y * 2, lambda y: y * np.float16("nan"), lambda y: y * 0])
def test_a_way_with_another_result_is_not_used(wrong, switched_on, clock, monkeypatch):
    whole = convs.product
    monkeypatch.setattr(convs, "product", lambda *given: wrong(whole(*given)))
    clock.plant("cublas", 0.1)
    with pytest.warns(RuntimeWarning, match="'cublas' is not used: its result is another than that of 'mma 128'"):
        compute()
    assert the_trial().chosen != "cublas" and "cublas" not in the_trial().milliseconds


@pytest.mark.parametrize(("sample", "other", "differs"), [
    ([1.0, -2.0], [1.01, -2.01], False), ([1.0, -2.0], [1.2, -2.0], True), ([0.0, 0.0], [0.0, 0.0], False),
    ([0.0], [1e-9], True), ([np.inf, 1], [5, 5], False), ([1, 1], [np.inf, 1], True), ([], [], False),
])  # fmt: skip
def test_what_is_another_result(sample, other, differs):
    assert autotune.is_other(np.array(other, np.float32), np.array(sample, np.float32)) is differs


def test_a_kernel_that_never_ends(switched_on, clock, monkeypatch):
    monkeypatch.setattr(Mark, "done", False)
    monkeypatch.setattr(autotune, "PATIENCE", 0.0)
    with pytest.raises(TimeoutError, match=r"the GPU has not ended after 0 s: forward .* by 'mma 128'"):
        compute()


@pytest.mark.parametrize("text", ["{", '{"a": 1}', '{"a": {"key": ["mma 64"]}}'])
def test_a_damaged_file_is_ignored_with_one_line(text, file, clock, stand_in):
    file.parent.mkdir()
    file.write_text(text)
    with pytest.warns(UserWarning, match="autotune.json is damaged") as told:
        mr.backends.cudnn.benchmark = True
    assert len(told) == 1
    file.write_text(json.dumps({"elsewhere": {"key": "strips"}}))  # meanwhile somebody mended it
    compute()
    assert clock.timed and len(json.loads(file.read_text())) == 2


def test_a_remembered_way_that_does_not_exist_is_not_used(switched_on, clock):
    compute()
    text = switched_on.read_text()
    switched_on.write_text(text.replace(f'"{the_trial().chosen}"', '"wgmma 256"'))
    timed = len(clock.timed)
    again()
    compute()
    assert len(clock.timed) == 2 * timed and "wgmma 256" not in switched_on.read_text()


def test_a_folder_that_cannot_be_written_to(switched_on, clock):
    switched_on.parent.write_text("a file in the place of the folder")
    with pytest.warns(UserWarning, match="which algorithms are the fastest is not kept: "):
        compute()
    assert the_trial().chosen and clock.timed


def test_the_sums_of_a_batch_norm_and_epilogues_are_questions_of_their_own(switched_on, clock):
    x, weight = mr.ones(2, 8, 3, 3, device="cuda").half().array, mr.ones(16, 8, 1, 1, device="cuda").half().array
    bias = mr.ones(16, device="cuda").array
    forward = kernels.conv2d_forward(x, weight, None, *SETTINGS)
    y, mean, _ = kernels.conv2d_moments_forward(x, weight, None, *SETTINGS)
    kernels.conv2d_act_forward(x, weight, bias, y, True, *SETTINGS)
    assert (y.get() == forward.get()).all() and (mean.get() == 8).all()
    fused = {text.partition("float16")[2].strip(): trial for text, trial in autotune.trials.items()}
    assert {name: "cublas" in trial.milliseconds for name, trial in fused.items()} == {
        "": True, "sums": True, "bias+residual+relu": False}  # fmt: skip


def test_layers_without_a_choice_are_not_timed(switched_on, clock):
    x, weight = mr.ones(1, 3, 5, 5, device="cuda").array, mr.ones(8, 3, 3, 3, device="cuda").array
    kernels.conv2d_forward(x, weight, None, *SETTINGS)
    kernels.conv2d_forward(x, mr.ones(3, 1, 3, 3, device="cuda").array, None, (1, 1), (0, 0), (1, 1), 3)
    assert not clock.timed and not autotune.trials and not switched_on.exists()


def test_it_may_be_switched_on_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIRES_HOME", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    mr.backends.cudnn.benchmark = True
    assert mr.backends.cudnn.benchmark
    mr.nn.functional.conv2d(mr.ones(1, 1, 3, 3), mr.ones(1, 1, 1, 1))
    mr.backends.cudnn.benchmark = False


@pytest.mark.parametrize("name", ["benchmark", "deterministic"])
def test_wrong_use(name):
    with pytest.raises(TypeError, match=f"{name} must be True or False, got 1"):
        setattr(mr.backends.cudnn, name, 1)


def test_names_and_defaults_are_torchs():
    torch = pytest.importorskip("torch")
    for name in ("benchmark", "deterministic"):
        assert getattr(mr.backends.cudnn, name) is getattr(torch.backends.cudnn, name) is False
