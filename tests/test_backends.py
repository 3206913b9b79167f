"""The autotuner: it tries each algorithm once for a shape, remembers, outlives a damaged memory, is off by default."""

import json
import warnings

import numpy as np
import pytest

import minires as mr
from minires import kernels
from minires.kernels.cpu import autotune, conv

SETTINGS = ((1, 1), (1, 1), (1, 1), 1)


@pytest.fixture
def memory(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIRES_HOME", str(tmp_path / "home"))
    yield tmp_path / "home" / "autotune.json"
    mr.backends.cpu.benchmark = False


@pytest.fixture
def tried(monkeypatch):
    """The ways that were tried, in order."""
    names: list[str] = []
    whole = conv._try

    def noting(name, layer):
        names.append(name)
        whole(name, layer)

    monkeypatch.setattr(conv, "_try", noting)
    return names


def convolve(size: int = 8, channels: int = 16) -> tuple[np.ndarray, ...]:
    draws = np.random.default_rng(0)
    x = draws.standard_normal((2, channels, size, size)).astype(np.float32)
    weight = draws.standard_normal((channels, channels, 3, 3)).astype(np.float32)
    y = kernels.conv2d_forward(x, weight, None, *SETTINGS)
    return y, *kernels.conv2d_gradients(y, x, weight, *SETTINGS)


def test_off_by_default(memory, tried):
    assert mr.backends.cpu.benchmark is False and not autotune.is_on()
    convolve()
    assert tried == [] and not memory.exists()


def test_each_way_is_tried_once_and_remembered(memory, tried):
    plain = convolve()
    mr.backends.cpu.benchmark = True
    first = convolve()
    assert set(tried) == {"winograd", "strips", "columns"} and len(tried) == 2 * 3 * (autotune.TRIES + 1)
    for ours, theirs in zip(first, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    count = len(tried)
    again = convolve()
    assert len(tried) == count and all((a == b).all() for a, b in zip(first, again, strict=True)), "same way, same bits"
    (choices,) = json.loads(memory.read_text()).values()
    assert len(choices) == 2 and set(choices.values()) <= {"winograd", "strips", "columns"}
    mr.backends.cpu.benchmark = False
    mr.backends.cpu.benchmark = True  # as another process would
    convolve()
    assert len(tried) == count
    convolve(size=9)
    assert len(tried) == 2 * count
    (choices,) = json.loads(memory.read_text()).values()
    assert len(choices) == 4


def test_the_fastest_is_taken(memory):
    mr.backends.cpu.benchmark = True
    layer = autotune.Layer("forward", None, 1, 1, 1, np.dtype("float32"))
    layer = layer._replace(geometry=conv.Geometry((3, 3), (1, 1), (1, 1), (1, 1), (4, 4)))
    calls = []

    def quick():
        calls.append("quick")

    def slow():
        calls.append("slow")
        np.linalg.inv(np.eye(200))

    assert autotune.fastest(layer, {"slow": slow, "quick": quick}) == "quick"
    assert autotune.fastest(layer, {"slow": slow, "quick": quick}) == "quick" and len(calls) == 2 * (autotune.TRIES + 1)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a": 1}', '{"a": {"key": ["strips"]}}', "[" * 100_000, '{"%s": {"key": "no such way"}}']
)
def test_a_damaged_memory(memory, tried, text):
    memory.parent.mkdir()
    machine = mr.backends._machine()
    is_readable = "%s" in text
    memory.write_text(text.replace("%s", machine))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if not is_readable else "error")
        mr.backends.cpu.benchmark = True
        convolve()
    assert len(tried) == 24 and machine in json.loads(memory.read_text())
    if not is_readable:
        memory.write_text(text)
        mr.backends.cpu.benchmark = False
        with pytest.warns(UserWarning, match="damaged"):
            mr.backends.cpu.benchmark = True


def test_other_machines_and_processes_keep_theirs(memory):
    memory.parent.mkdir()
    mr.backends.cpu.benchmark = True
    memory.write_text(json.dumps({"another": {"key": "strips"}, mr.backends._machine(): {"meanwhile": "columns"}}))
    convolve()
    found = json.loads(memory.read_text())
    assert found["another"] == {"key": "strips"} and len(found) == 2
    assert found[mr.backends._machine()]["meanwhile"] == "columns" and len(found[mr.backends._machine()]) == 3


def test_a_folder_that_cannot_be_written_to(memory, tried):
    memory.parent.write_text("a file in the place of the folder")
    mr.backends.cpu.benchmark = True
    with pytest.warns(UserWarning, match="which algorithms are the fastest is not kept: "):
        convolve()
    count = len(tried)
    convolve()
    assert len(tried) == count


def test_other_layers_are_not_tried(memory, tried):
    mr.backends.cpu.benchmark = True
    x, weight = np.ones((1, 4, 6, 6), np.float32), np.ones((4, 4, 3, 3), np.float32)
    kernels.conv2d_forward(x, weight, None, (2, 2), (1, 1), (1, 1), 1)
    kernels.conv2d_forward(x, weight[:, :1], None, (1, 1), (1, 1), (1, 1), 4)
    kernels.conv2d_forward(x, weight[:, :, :1, :1], None, (1, 1), (0, 0), (1, 1), 1)
    kernels.conv2d_forward(x[:0], weight, None, *SETTINGS)
    assert tried == []


def test_wrong_use():
    with pytest.raises(TypeError, match="True or False"):
        mr.backends.cpu.benchmark = 1


@pytest.mark.parametrize("place", [mr.backends.cpu, mr.backends.cudnn, mr.backends.cuda, mr.backends.cuda.matmul])
def test_a_switch_that_does_not_exist(place):
    with pytest.raises(AttributeError, match="benchmrk"):
        place.benchmrk = True


def test_deterministic_algorithms():
    assert not mr.are_deterministic_algorithms_enabled()
    mr.backends.cudnn.deterministic = False
    try:
        mr.use_deterministic_algorithms(True)
        assert mr.are_deterministic_algorithms_enabled() and mr.backends.cudnn.deterministic
        assert not mr.backends.cpu.benchmark
        with pytest.raises(TypeError, match="mode"):
            mr.use_deterministic_algorithms("yes")
    finally:
        mr.use_deterministic_algorithms(False)
    assert not mr.are_deterministic_algorithms_enabled()
