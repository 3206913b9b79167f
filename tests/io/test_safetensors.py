import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minires.errors import FileFormatError
from minires.io import files
from minires.io import safetensors as own

pytestmark = pytest.mark.timeout(30)

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", "c8"]


def base(dtype="f4") -> np.ndarray:
    return np.arange(120).reshape(2, 3, 4, 5).astype(dtype)


LAYOUTS = {
    "C": base(),
    "F": np.asfortranarray(base()),
    "transposed": base().T,
    "NHWC view": np.ascontiguousarray(base().transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "strided": base()[:, ::2, 1::2, ::3],
    "broadcast": np.broadcast_to(base()[:, :1], (2, 7, 4, 5)),
    "negative stride": base()[::-1, :, ::-1],
    "big-endian": base(">f8"),
    "big-endian F": np.asfortranarray(base(">i4")),
    "0-d": np.array(2.5),
    "0-d big-endian": np.array(7, ">u2"),
    "empty": np.zeros((0, 3)),
    "empty strided": np.zeros((4, 0, 2))[::2],
    "read-only": np.frombuffer(b"12345678", np.uint8),
}


def assert_same(found: np.ndarray, given: np.ndarray) -> None:
    assert found.shape == given.shape
    assert found.dtype == given.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, given)
    assert found.tobytes() == np.ascontiguousarray(given, given.dtype.newbyteorder("=")).tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_memory_order_comes_back(tmp_path, layout):
    array, path = LAYOUTS[layout], tmp_path / "a.safetensors"
    own.save_file({"x": array, "other": np.ones(3)}, path)
    assert_same(own.load_file(path)["x"], array)
    assert_same(safetensors.numpy.load(files.read_bytes(path))["x"], array)  # and in the library's own reading


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_comes_back(tmp_path, dtype):
    own.save_file({"x": base(dtype).T}, tmp_path / "a")
    assert_same(own.load_file(tmp_path / "a")["x"], base(dtype).T)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda name: name != "__metadata__" and "\0" not in name),
        st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))),
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_any_dictionary_comes_back(arrays, random):
    given_arrays = {
        name: array.transpose(random.sample(range(array.ndim), array.ndim)) for name, array in arrays.items()
    }
    found, metadata = own.from_bytes(own.to_bytes(given_arrays, {"k": "v"}), "x")
    assert found.keys() == arrays.keys() and metadata == {"k": "v"}
    for name, array in given_arrays.items():
        assert found[name].tobytes() == array.tobytes() and found[name].dtype == array.dtype


def test_loaded_arrays_are_one_s_own(tmp_path):
    own.save_file({"x": np.zeros(3), "y": np.ones(3)}, tmp_path / "a")
    found = own.load_file(tmp_path / "a")
    found["x"] += 5
    assert found["y"].tolist() == [1, 1, 1]


def test_metadata(tmp_path):
    own.save_file({"x": np.zeros(3)}, tmp_path / "a", {"key": 'Grüße " \\ \n', "b": ""})
    assert own.read_metadata(tmp_path / "a") == {"key": 'Grüße " \\ \n', "b": ""}
    own.save_file({"x": np.zeros(3)}, tmp_path / "a")
    assert own.read_metadata(tmp_path / "a") == {}


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.zeros(2, "c16"), np.zeros(2, "M8[s]")])
def test_types_that_the_format_lacks_are_named(tmp_path, array):
    with pytest.raises(TypeError, match="'weight'"):
        own.save_file({"weight": array}, tmp_path / "a")
    assert files.list_folder(tmp_path) == []


def craft(header, data=b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_bfloat16_is_read_as_float32():
    values = [0.0, -0.0, 1.0, -2.5, 3.0e38, float("inf"), float("nan"), 2.0**-130]
    bits = b"".join(struct.pack(">f", value)[:2][::-1] for value in values)
    found, _ = own.from_bytes(craft({"x": entry("BF16", (2, 4), (0, 16))}, bits), "x")
    assert found["x"].dtype == np.float32 and found["x"].shape == (2, 4)
    np.testing.assert_array_equal(np.signbit(found["x"]).reshape(-1), np.signbit(values))
    expected = [struct.unpack(">f", struct.pack(">f", value)[:2] + b"\0\0")[0] for value in values]
    np.testing.assert_array_equal(found["x"].reshape(-1), np.float32(expected))


def test_bfloat16_as_torch_writes_it():
    torch = pytest.importorskip("torch")
    from safetensors.torch import save

    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    found, _ = own.from_bytes(save({"x": values, "y": torch.arange(3)}), "x")
    np.testing.assert_array_equal(found["x"], values.float().numpy())
    assert found["y"].tolist() == [0, 1, 2]


def test_torch_reads_what_is_written_here():
    pytest.importorskip("torch")
    from safetensors.torch import load

    for layout, array in LAYOUTS.items():
        found = load(own.to_bytes({"x": array}))["x"].numpy()
        assert_same(found, array), layout


HOSTILE = {
    "nothing": b"",
    "too short for a length": b"\1\0\0",
    "header longer than the file": struct.pack("<Q", 1000) + b"{}",
    "header of 2**63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "not UTF-8": craft(b'{"\xff": 1}'),
    "not JSON": craft(b"{not json"),
    "a list": craft(b"[]"),
    "deep JSON": craft(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "missing bytes": craft({"x": entry()}, b"\0\0\0"),
    "trailing bytes": craft({"x": entry()}, b"\0" * 5),
    "a gap": craft({"x": entry(), "y": entry(offsets=(8, 12))}, b"\0" * 12),
    "overlap": craft({"x": entry(), "y": entry(offsets=(0, 4))}, b"\0" * 4),
    "offsets backwards": craft({"x": entry(offsets=(4, 0))}, b"\0" * 4),
    "negative offset": craft({"x": entry(offsets=(-4, 0))}, b"\0" * 4),
    "float offset": craft({"x": entry(offsets=(0.0, 4.0))}, b"\0" * 4),
    "text offset": craft({"x": entry(offsets=("0", "4"))}, b"\0" * 4),
    "bool offset": craft({"x": entry(offsets=(False, True))}, b"\0"),
    "shape larger than the data": craft({"x": entry(shape=(1000,))}, b"\0" * 4),
    "shape that overflows": craft({"x": entry(shape=(2**62, 2**62, 4))}, b"\0" * 4),
    "claims a terabyte": craft({"x": entry(shape=(2**38,), offsets=(0, 2**40))}, b"\0" * 4),
    "negative shape": craft({"x": entry(shape=(-1,))}, b"\0" * 4),
    "unknown type": craft({"x": entry("F31")}, b"\0" * 4),
    "type without a NumPy name": craft({"x": entry("F8_E4M3", (4,))}, b"\0" * 4),
    "metadata that is not text": craft({"__metadata__": {"a": 1}, "x": entry()}, b"\0" * 4),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused(tmp_path, name):
    path = tmp_path / "bad.safetensors"
    files.write_atomic(path, HOSTILE[name])
    with pytest.raises(FileFormatError, match=r"bad\.safetensors at byte \d+: ") as caught:
        own.load_file(path)
    assert caught.value.offset is not None and 0 <= caught.value.offset <= len(HOSTILE[name])
    if name != "type without a NumPy name":
        with pytest.raises(FileFormatError):
            own.read_metadata(path)


def test_truncation_anywhere_is_refused():
    data = own.to_bytes({"x": base(), "y": np.ones(3, "i2")}, {"k": "v"})
    for length in range(len(data)):
        with pytest.raises(FileFormatError):
            own.from_bytes(data[:length], "x")
