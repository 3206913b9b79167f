"""HDF5 and Keras files: what Keras writes is read in all three layouts; what is made to harm is refused, unopened."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import minires as mr
from minires.errors import FileFormatError, MiniresError, UsageError
from minires.io import hdf5, keras_files
from minires.io.weights import is_weights_file

h5py = pytest.importorskip("h5py")
from tests import keras_layout  # noqa: E402 - it imports h5py
from tests.io.hostile_hdf5 import EITHER, built  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)
LAYERS = [
    ("first", "Conv2D", {"kernel": RNG.random((3, 3, 2, 4), np.float32), "bias": RNG.random(4, np.float32)}),
    ("relu", "Activation", {}),
    ("second", "BatchNormalization", {name: RNG.random(4, np.float32)
                                      for name in ("gamma", "beta", "moving_mean", "moving_variance")}),
    ("third", "Conv2D", {"kernel": RNG.random((1, 1, 4, 5), np.float32)}),
    ("fourth", "Dense", {"kernel": RNG.random((5, 2), np.float32), "bias": RNG.random(2, np.float32)}),
]  # fmt: skip
STATE = keras_layout.state_of(LAYERS)


def assert_same(found, expected=STATE):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)


# ----------------------------------------------------------------------------------------------------- honest files


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (keras_layout.legacy, {}),
        (keras_layout.legacy, {"whole": True}),
        (keras_layout.legacy, {"keras1": True}),
        (keras_layout.legacy, {"compression": "gzip", "shuffle": True, "fletcher32": True}),
        (keras_layout.numbered, {}),
        (keras_layout.numbered, {"root": "_layer_checkpoint_dependencies"}),
        (keras_layout.archive, {}),
    ],
)
def test_every_layout(make, options):
    assert_same(keras_files.from_bytes(make(LAYERS, **options), "f"))


@pytest.mark.parametrize("make", [keras_layout.legacy, keras_layout.numbered])
def test_a_model_in_a_model_has_its_name_in_front(make):
    assert_same(keras_files.from_bytes(make(LAYERS, owner="inner"), "f"),
                {f"inner/{name}": array for name, array in STATE.items()})  # fmt: skip


def test_layers_without_names_keep_their_numbers():
    found = keras_files.from_bytes(keras_layout.numbered(LAYERS, named=False), "f")
    groups = {"first": "conv2d", "second": "batch_normalization", "third": "conv2d_1", "fourth": "dense"}
    assert_same(found, {f"{groups[name.split('/')[0]]}/{name.split('/')[1]}": STATE[name] for name in STATE})


def test_a_norm_without_gamma_is_not_given_names_that_are_wrong():
    layers = [
        ("n", "BatchNormalization", {"beta": np.ones(2), "moving_mean": np.ones(2), "moving_variance": np.ones(2)})
    ]
    assert set(keras_files.from_bytes(keras_layout.numbered(layers), "f")) == {"n/0", "n/1", "n/2"}


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i4", "i8", "u1", "u8", ">f4", ">i2"])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_types_and_shapes(dtype, shape):
    values = (RNG.random(shape) * 50).astype(dtype)
    found = hdf5.from_bytes(built(lambda file: file.create_dataset("a/x", data=values)), "f")
    assert [array.path for array in found] == ["a/x"]
    assert found[0].values.dtype == values.dtype.newbyteorder("=") and found[0].values.shape == shape
    np.testing.assert_array_equal(found[0].values, values)


def test_bfloat16():
    values = np.array([1.5, -2.0, 3e38, 1e-38, np.inf], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")

    def make(file):
        file.create_dataset("layers/dense/vars/0", data=bits.view("V2")).attrs["dtype"] = "bfloat16"

    found = keras_files.from_bytes(built(make), "f")["dense/kernel"]
    np.testing.assert_array_equal(found.view(np.uint32), bits.astype(np.uint32) << 16)


def test_loaded_by_the_usual_function(tmp_path):
    path = tmp_path / "model.weights.h5"
    path.write_bytes(keras_layout.numbered(LAYERS))
    assert_same({name: tensor.array for name, tensor in mr.load(path).items()})
    assert next(iter(hdf5.load_file(path))) == "layers/batch_normalization/vars/0"
    assert is_weights_file(path) and is_weights_file("a.KERAS")
    for name in ("a.h5", "a.keras", "a.hdf5"):
        with pytest.raises(UsageError, match=r"cannot save .*\.safetensors, \.npz"):
            mr.save({}, tmp_path / name)


@pytest.mark.parametrize(
    "layer",
    [
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "swap", "function": "__import__('os')"}},
        {"module": "mine.layers", "class_name": "Swap", "config": {"name": "swap"}},
    ],
)
def test_layers_that_are_code_are_named_and_not_run(layer):
    config = {"module": "keras", "class_name": "Functional", "config": {"layers": [layer]}}
    with pytest.warns(UserWarning, match=rf"which is not run: 'swap' \({layer['class_name']}\)"):
        assert_same(keras_files.from_bytes(keras_layout.archive(LAYERS, config), "f"))


def test_two_arrays_of_one_name():
    def make(file):
        for group in ("conv2d", "conv2d_1"):
            file[f"layers/{group}/vars/0"] = np.ones(2)
            file[f"layers/{group}/vars"].attrs["name"] = "same"

    with pytest.raises(FileFormatError, match="f: two arrays are called 'same/kernel'"):
        keras_files.from_bytes(built(make), "f")


def test_without_h5py_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MiniresError, match="needs h5py") as caught:
        hdf5.from_bytes(b"", "f")
    assert caught.value.code == "dependency.missing" and caught.value.hint == "pip install h5py"


# ---------------------------------------------------------------------------------------------------- hostile files


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """All files read in another process: 256 MiB of memory to use, every event and every opened file recorded."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the watch over opened files is Linux's")
    words = [sys.executable, "-m", "tests.io.hostile_hdf5", str(tmp_path_factory.mktemp("hostile"))]
    answer = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return json.loads(answer.stdout)


def test_all_are_refused_by_name(report):
    assert len(report) > 150
    for case, result in report.items():
        message, said = result["error"], result["said"]
        if said == EITHER and message is None:
            continue
        assert message is not None, f"{case}: the file was read"
        assert message.startswith(result["file"]) and re.search("." if said == EITHER else said, message), (
            case,
            message,
        )
        assert len(message) < 1000 and message.isprintable(), case


def test_no_other_file_is_opened_and_nothing_run(report):
    for case, result in report.items():
        assert result["opened"] == [result["file"]], case
        acts = [event for event in result["events"] if not event.startswith("builtins.id ")]
        assert len(acts) == 1 and acts[0].startswith(f"open ('{result['file']}'"), (case, acts)


def test_each_is_refused_soon(report):
    assert {case: result["seconds"] for case, result in report.items() if result["seconds"] > 5} == {}


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [(8, 2**40, "a heap claims"), (8, 3, "a heap claims"), (24, 2**60, "an object in a heap claims")],
)
def test_a_damaged_heap_is_not_given_to_the_library(place, value, said):
    """Texts lie in heaps; an object of size 0 that is marked as free makes the library walk on the spot for ever."""
    layers = [("a", "Dense", {"kernel": np.ones((2, 2), np.float32)})]
    sound = keras_layout.numbered(layers)
    heap = sound.index(b"GCOL")
    wrong = bytearray(sound)
    wrong[heap + place : heap + place + 8] = value.to_bytes(8, "little")
    with pytest.raises(FileFormatError, match=said):
        keras_files.from_bytes(bytes(wrong), "file.h5")
    wrong = bytearray(sound)
    wrong[heap + 16 : heap + 32] = bytes(16)
    with pytest.raises(FileFormatError, match="an object in a heap claims 0 bytes"):
        keras_files.from_bytes(bytes(wrong), "file.h5")
    assert keras_files.from_bytes(sound, "file.h5").keys() == {"a/kernel"}
