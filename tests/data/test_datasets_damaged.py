"""Files of data sets with bytes changed, cut out and put in: they are read, or refused by an error that names them."""

import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minires.data.datasets import CIFAR10, CocoDetection, read_idx, read_voc
from minires.errors import MiniresError
from tests.data import dataset_files as make

thorough = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
damage = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(min_size=0, max_size=6)), min_size=1, max_size=4
)


def damaged(content: bytes, changes) -> bytes:
    """`content` with each change's bytes put in place of `length` of its own."""
    for place, length, new in changes:
        start = int(place * len(content))
        content = content[:start] + new + content[start + length :]
    return content


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Name -> (a small good file, what reads it)."""
    folder = tmp_path_factory.mktemp("good")
    make.cifar10(folder)
    batch = folder / "cifar-10-batches-py" / "data_batch_1"
    small = make.write(folder / "numbers", make.idx(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), 8))
    packed = make.write(folder / "numbers.gz", gzip.compress(small.read_bytes()))
    xml = make.write(folder / "a.xml", make.VOC_XML.format(more=make.VOC_SECOND).encode())
    json = make.coco(folder)
    return {
        "cifar": (batch, lambda path: CIFAR10(folder)), "idx": (small, read_idx), "gzip": (packed, read_idx),
        "voc": (xml, read_voc), "coco": (json, lambda path: list(CocoDetection(folder, path).annotations)),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["cifar", "idx", "gzip", "voc", "coco"])
@thorough
@given(changes=damage)
def test_damage_is_survived_or_named(files, kind, changes):
    path, read = files[kind]
    content = path.read_bytes()
    wrong = damaged(content, changes)
    path.write_bytes(wrong)
    try:
        read(path)
    except MiniresError as error:
        assert error.file == str(path) and str(path) in str(error)
    finally:
        path.write_bytes(content)
