"""Files of published data sets, small ones, that the tests write byte by byte."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np

from tests.data.helpers import noise, save


def text(value: str) -> bytes:
    """Python 2's str in a pickle of protocol 2."""
    return b"U" + bytes([len(value)]) + value.encode()


def long_bytes(value: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(value)) + value


def int_list(values: list[int]) -> bytes:
    return b"](" + b"".join(b"K" + bytes([value]) for value in values) + b"e"


def text_list(values: list[str]) -> bytes:
    return b"](" + b"".join(text(value) for value in values) + b"e"


def array(pixels: np.ndarray) -> bytes:
    """As Python 2 and NumPy of 2009 wrote an array of bytes (N, M)."""
    rows, columns = pixels.shape
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09"
        b"(K\x01" + b"J" + struct.pack("<i", rows) + b"J" + struct.pack("<i", columns) + b"\x86"
        b"cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89" + long_bytes(pixels.tobytes()) + b"tb"
    )  # fmt: skip


def dictionary(items: dict[str, bytes]) -> bytes:
    return b"\x80\x02}q\x01(" + b"".join(text(key) + value for key, value in items.items()) + b"u."


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def cifar_rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)


def cifar10(root: Path, binary: bool = False) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Three pictures a file. Returns file -> (rows, labels)."""
    names = [f"class{number}" for number in range(10)]
    parts = {}
    for seed, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        rows, labels = cifar_rows(3, seed), [seed, 9 - seed, 5]
        parts[name] = rows, labels
        if binary:
            records = b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, rows, strict=True))
            write(root / "cifar-10-batches-bin" / f"{name}.bin", records)
        else:
            content = dictionary({"batch_label": text("a batch"), "labels": int_list(labels), "data": array(rows),
                                  "filenames": text_list(["a.png", "b.png", "c.png"])})  # fmt: skip
            write(root / "cifar-10-batches-py" / name, content)
    if binary:
        write(root / "cifar-10-batches-bin" / "batches.meta.txt", "\n".join([*names, ""]).encode())
    else:
        meta = dictionary({"num_cases_per_batch": b"M\x10\x27", "label_names": text_list(names), "num_vis": b"M\0\x0c"})
        write(root / "cifar-10-batches-py" / "batches.meta", meta)
    return parts


def cifar100(root: Path, binary: bool = False) -> tuple[np.ndarray, list[int]]:
    """Four pictures for training. Returns (rows, fine labels)."""
    rows, fine, coarse = cifar_rows(4, 7), [99, 0, 42, 42], [19, 1, 2, 3]
    names = [f"fine{number}" for number in range(100)]
    if binary:
        records = [bytes([c, f]) + row.tobytes() for c, f, row in zip(coarse, fine, rows, strict=True)]
        write(root / "cifar-100-binary" / "train.bin", b"".join(records))
        write(root / "cifar-100-binary" / "fine_label_names.txt", "\n".join(names).encode())
    else:
        content = {"data": array(rows), "fine_labels": int_list(fine), "coarse_labels": int_list(coarse)}
        write(root / "cifar-100-python" / "train", dictionary(content))
        write(root / "cifar-100-python" / "meta", dictionary({"fine_label_names": text_list(names)}))
    return rows, fine


def idx(values: np.ndarray, code: int) -> bytes:
    header = bytes([0, 0, code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(values.dtype.newbyteorder(">")).tobytes()


def mnist(folder: Path, packed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Five pictures of 28 x 28 for training. Returns (pictures, labels)."""
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (5, 28, 28), np.uint8), np.array([3, 1, 4, 1, 9], np.uint8)
    for name, values in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        content = idx(values, 0x08)
        write(folder / (name + (".gz" if packed else "")), gzip.compress(content, 1) if packed else content)
    return images, labels


def coco(root: Path, change=lambda found: None) -> Path:
    """Two pictures with three annotations; `change` may spoil the dictionary before it is written."""
    for number in (7, 3):
        save(noise(20, 10, seed=number), root / f"{number}.png")
    found = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 20, "height": 10} for number in (7, 3)],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [2, 3, 4.5, 5], "area": 22.5, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 90, "bbox": [0, 0, 20, 10], "area": 200, "iscrowd": 0},
            {"id": 5, "image_id": 3, "category_id": 18, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 1},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}],
    }
    change(found)
    return write(root / "instances.json", json.dumps(found).encode())


VOC_XML = """<annotation>
  <folder>VOC2012</folder><filename>a.jpg</filename>
  <size><width>20</width><height>10</height><depth>3</depth></size>
  <object><name>dog</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>8</xmax><ymax>9</ymax></bndbox>
    <part><name>head</name></part><part><name>hand</name></part></object>
  {more}
</annotation>"""
VOC_SECOND = (
    "<object><name>cat</name><bndbox><ymin>1</ymin><xmin>1</xmin><xmax>20</xmax><ymax>10</ymax></bndbox></object>"
)


def voc(root: Path) -> Path:
    """Two pictures: a with two objects, b with one; both with a mask. Returns the folder of the year."""
    folder = root / "VOCdevkit" / "VOC2012"
    for name, more in (("a", VOC_SECOND), ("b", "")):
        save(noise(20, 10, seed=ord(name)), folder / "JPEGImages" / f"{name}.jpg")
        write(folder / "Annotations" / f"{name}.xml", VOC_XML.format(more=more).encode())
        mask = noise(20, 10, "L", seed=ord(name)).convert("P")
        save(mask, folder / "SegmentationClass" / f"{name}.png")
    write(folder / "ImageSets" / "Main" / "train.txt", b"a\nb\n")
    write(folder / "ImageSets" / "Segmentation" / "train.txt", b"b\n")
    return folder
