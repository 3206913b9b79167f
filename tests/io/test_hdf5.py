"""HDF5 and Keras files: what Keras and h5py write is read, as h5py reads it, in every version of the format; what is
made to harm is refused, unopened."""

import json
import pathlib
import re
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import minires as mr
from minires.errors import FileFormatError, UsageError
from minires.io import hdf5, keras_files
from minires.io.hdf5_bytes import lookup3
from minires.io.hdf5_values import fletcher32
from minires.io.weights import is_weights_file

h5py = pytest.importorskip("h5py")
from tests import keras_layout  # noqa: E402 - it imports h5py
from tests.io.hostile_hdf5 import EITHER, built, number_at, packed, written  # noqa: E402

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


def test_without_h5py(monkeypatch):
    content = keras_layout.numbered(LAYERS)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert_same(keras_files.from_bytes(content, "f"))


# ------------------------------------------------------------------------------------------ every version of the format

VERSIONS = [None, "earliest", "v108", "v110", "latest"]


@st.composite
def trees(draw):
    """Options of a file, and of each group and array: the group it lies in, its name, and how it is written."""
    count = draw(st.sampled_from([1, 6, 30]))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    items = []
    for number in range(count):
        shape = tuple(rng.integers(1, 8, rng.integers(0, 4)).tolist())
        options = {}
        if shape and rng.random() < 0.6:
            options["chunks"] = tuple(int(rng.integers(1, axis + 1)) for axis in shape)
            packings = {"compression": "gzip", "shuffle": True, "fletcher32": True}
            options.update({name: value for name, value in packings.items() if rng.random() < 0.5})
        name = f"n{number}" + "xé"[number % 2] * int(rng.choice([0, 3, 300]))
        values = (rng.random(shape) * 100).astype(rng.choice(["f2", "f4", "f8", "i1", "u8", ">f4", ">i2"]))
        attributes = int(rng.choice([0, 0, 1, 12, 40]))
        items.append(
            (int(rng.integers(0, number + 1)), name, None if rng.random() < 0.3 else values, options, attributes)
        )
    return {"libver": draw(st.sampled_from(VERSIONS)), "track_order": draw(st.booleans())}, items


@settings(deadline=None, max_examples=40, derandomize=True)
@given(trees())
def test_what_h5py_writes_is_read_in_every_version(tree):
    """Few and many members, long names, attributes small and large, each packing: every kind of index and heap."""
    options, items = tree
    expected = {}

    def make(file):
        groups = [file]
        for parent, name, values, how, attributes in items:
            group = groups[parent % len(groups)]
            if values is None:
                made = group.create_group(name)
                groups.append(made)
            else:
                made = group.create_dataset(name, data=values, **how)
                expected[made.name[1:]] = values.astype(values.dtype.newbyteorder("="))
            for number in range(attributes):
                made.attrs[f"a{number}"] = ("text", number, np.arange(4.0), np.bytes_(b"q" * 6000), True)[number % 5]

    assert_same({array.path: array.values for array in hdf5.from_bytes(built(make, **options), "f")}, expected)


@pytest.mark.parametrize("libver", VERSIONS)
@pytest.mark.parametrize("count", [1, 9, 1500])
def test_small_and_large_groups_and_tables_of_pieces(libver, count):
    values = np.arange(count * 4.0).reshape(2 * count, 2)

    def make(file):
        group = file.create_group("a")
        for number in range(count):
            group.create_group(f"{number}" * (1 + number % 7))
        group.create_dataset("x", data=values, chunks=(1, 2))
        group.create_dataset("y", data=values, chunks=(1, 2), compression="gzip", maxshape=values.shape)
        group.attrs["name"] = "the name"

    found = hdf5.from_bytes(built(make, libver=libver), "f")
    assert [(array.path, array.group_name) for array in found] == [("a/x", "the name"), ("a/y", "the name")]
    for array in found:
        np.testing.assert_array_equal(array.values, values)


def test_what_is_not_read_of_plain_arrays_is_said():
    def growing(file):
        file.create_dataset("x", data=np.ones(9), chunks=(2,), maxshape=(None,))

    def with_holes(file):
        file.create_dataset("x", (9, 9), "f4", chunks=(3, 3), compression="gzip")[0, 0] = 1

    def own_type(file):
        file["x"] = np.ones(3, "f4")
        file["t"] = np.dtype("f4")
        file.create_dataset("a", (2,), file["t"])

    cases = [(growing, "latest", "an array that can grow"), (with_holes, None, "has 1 of its 9 pieces"),
             (own_type, None, "the type of the object at byte [0-9]+ is shared")]  # fmt: skip
    assert len(hdf5.from_bytes(built(growing, libver="earliest"), "f")) == 1
    for make, libver, said in cases:
        with pytest.raises(FileFormatError, match=said):
            hdf5.from_bytes(built(make, libver=libver), "f")


def test_ways_of_writing_that_h5py_hides():
    """Values in the header, a piece that was not packed, texts of fixed size and without any character."""

    def make(file):
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3,))
        h5py.h5d.create(file.create_group("a").id, b"x", h5py.h5t.STD_I32BE, space, plan).write(
            space, space, np.arange(3, dtype=">i4")
        )
        file["a"].attrs["name"] = np.bytes_(b"fixed")
        made = file.create_dataset("b/y", (4,), "<f4", chunks=(2,), compression="gzip", shuffle=True)
        made[:2] = [1, 2]
        made.id.write_direct_chunk((2,), np.array([3, 4], "<f4").tobytes(), filter_mask=3)
        file["b"].attrs["name"] = ""

    for version in VERSIONS:
        found = hdf5.from_bytes(built(make, libver=version), "f")
        assert [(array.path, array.group_name) for array in found] == [("a/x", "fixed"), ("b/y", "")]
        assert found[0].values.tolist() == [0, 1, 2] and found[1].values.tolist() == [1, 2, 3, 4]


def test_bfloat16_as_a_float_of_its_own_layout():
    bits = (np.array([1.5, -2.0, 3e38], np.float32).view(np.uint32) >> 16).astype("<u2")
    kind = h5py.h5t.IEEE_F16LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_ebias(127)

    def make(file):
        space = h5py.h5s.create_simple((3,))
        h5py.h5d.create(file.id, b"x", kind, space).write(space, space, bits.view("V2"), mtype=kind)

    found = hdf5.from_bytes(built(make), "f")[0].values
    np.testing.assert_array_equal(found.view(np.uint32), bits.astype(np.uint32) << 16)


def test_checksums():
    """Bob Jenkins' own examples, and sums over one and two words by hand."""
    assert lookup3(b"") == 0xDEADBEEF and lookup3(b"Four score and seven years ago") == 0x17770551
    assert fletcher32(b"\1\2") == (0x102, 0x102) and fletcher32(b"\1\2\3") == (0x402, 0x504)
    assert fletcher32(b"\xff\xff" * 3) == (0, 0)
    many = RNG.integers(0, 256, (1 << 20) + 999, np.uint8).tobytes()
    words = np.frombuffer(many + b"\0", ">u2").astype(object)
    assert fletcher32(many)[0] == int(words.sum()) % 65535
    assert fletcher32(many)[1] == int((words * np.arange(len(words), 0, -1).astype(object)).sum()) % 65535


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
def test_a_damaged_heap(place, value, said):
    """Texts lie in heaps; an object of size 0 that is marked as free made the library walk on the spot for ever."""
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


def test_a_list_of_free_space_that_leads_back_to_itself():
    """In it the HDF5 library walks for ever. Free space holds nothing: it is not even looked at."""
    sound = keras_layout.numbered(LAYERS)
    heap = sound.index(b"HEAP")
    first = number_at(sound, heap + 24) + number_at(sound, heap + 16)
    wrong = written(sound, (first, number_at(sound, heap + 16)))
    assert wrong != sound
    assert_same(keras_files.from_bytes(wrong, "file.h5"))


def test_a_link_and_a_header_that_disagree():
    """An old group notes beside a link where the members of that group lie; the library believed the note."""
    sound = built(lambda file: file.create_dataset("a/x", data=np.ones(2)), libver="earliest")
    entry = sound.index(b"SNOD") + 8
    assert number_at(sound, entry + 16) == 1, "the note is there"
    with pytest.raises(FileFormatError, match="'a' has its members in two places"):
        hdf5.from_bytes(written(sound, (entry + 24, 800)), "f")


@pytest.mark.parametrize("in_archive", [False, True])
def test_damage_is_found_by_its_checksum_and_named_by_its_byte(in_archive):
    sound = built(lambda file: file.create_dataset("x", data=np.ones(2)), libver="latest")
    header = sound.index(b"OHDR")
    wrong = sound[: header + 12] + b"\x55" + sound[header + 13 :]
    content = packed(config__json="{}", model__weights__h5=wrong) if in_archive else wrong
    place = r": model\.weights\.h5" if in_archive else ""
    with pytest.raises(FileFormatError, match=rf"^file{place} at byte [0-9]+: an object header .* checksum differs"):
        keras_files.from_bytes(content, "file")
