"""The table of kernels: every name has a reference version, the sets agree, `use` holds for one thread only."""

import inspect
import threading

import numpy as np
import pytest

from minires import kernels


def test_every_kernel_has_a_reference_version():
    assert len(kernels.TABLE) > 20
    assert [name for name, versions in kernels.TABLE.items() if "reference" not in versions] == []


def arguments_of(function):
    """Names and defaults; the types differ, NumPy's arrays here and any library's there."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_all_versions_of_a_kernel_take_the_same_arguments():
    for name, versions in kernels.TABLE.items():
        expected = arguments_of(versions["reference"])
        for set_name, version in versions.items():
            assert arguments_of(version) == expected, f"{name} of {set_name}"
            assert version.__doc__, f"{name} of {set_name} says nothing about itself"


def marked(monkeypatch, name="relu_forward"):
    versions = {"reference": lambda x: "reference", "cpu": lambda x: "cpu"}
    monkeypatch.setitem(kernels.TABLE, name, versions)
    return versions


def test_the_device_chooses_and_use_overrules(monkeypatch):
    marked(monkeypatch)
    x = np.zeros(1)
    assert kernels.relu_forward(x) == kernels.relu_forward(np.zeros(1, np.float32)) == "cpu"
    with kernels.use("reference"):
        assert kernels.relu_forward(x) == "reference"
        with kernels.use("cpu"):
            assert kernels.relu_forward(x) == "cpu"
        assert kernels.relu_forward(x) == "reference"
    assert kernels.relu_forward(x) == "cpu"


@pytest.mark.parametrize("dtype", ["float16", "int64", "uint8", "bool"])
def test_types_beyond_the_fast_ones_use_the_reference(monkeypatch, dtype):
    marked(monkeypatch)
    with kernels.use("cpu"):
        assert kernels.relu_forward(np.zeros(1, dtype)) == "reference"
    assert kernels.relu_forward(np.zeros(1, dtype)) == "reference"


def test_use_ends_with_an_error_too(monkeypatch):
    marked(monkeypatch)
    with pytest.raises(RuntimeError), kernels.use("reference"):
        raise RuntimeError
    assert kernels.relu_forward(np.zeros(1)) == "cpu"


def test_use_holds_for_its_thread_only(monkeypatch):
    marked(monkeypatch)
    seen = []
    with kernels.use("reference"):
        thread = threading.Thread(target=lambda: seen.append(kernels.relu_forward(np.zeros(1))))
        thread.start()
        thread.join()
    assert seen == ["cpu"]


def test_a_kernel_missing_from_the_fast_set_is_the_reference_one(monkeypatch):
    versions = marked(monkeypatch)
    del versions["cpu"]
    assert kernels.relu_forward(np.zeros(1)) == "reference"
    with pytest.raises(NotImplementedError, match="relu_forward has no version for cuda"):
        kernels.implementation("relu_forward", "cuda")


def test_wrong_names():
    with pytest.raises(ValueError, match=r"one of the kernel sets reference, cpu, got 'fast'"), kernels.use("fast"):
        pass
    with pytest.raises(AttributeError, match=r"no kernel 'conv3d'; it has .*conv2d_forward"):
        kernels.conv3d  # noqa: B018
    with pytest.raises(TypeError, match="expected a NumPy or CuPy array, got list"):
        kernels.relu_forward([1.0])
