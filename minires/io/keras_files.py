"""The weights in Keras's files, by names of the form "layer/weight": "conv1_conv/kernel".

    .h5           Keras 1 and 2, and what Keras 3 calls legacy: a group a layer, arrays that say what they are
                  (conv1_conv/conv1_conv/kernel:0, in Keras 1 conv1/conv1_W_1:0). A whole model has them in the group
                  model_weights, beside its optimizer's, which are not read
    .weights.h5   Keras 3: numbered arrays in groups called after classes of layers (layers/conv2d_7/vars/0). The name
                  of the layer is an attribute; files of before 2025 lack it, and then the group's name stays
    .keras        a zip archive with the latter in it, and config.json, which describes the layers

Which of these a file is follows from its content. Nothing is built from a description and nothing in it is executed:
layers that are code (Lambda, or classes of one's own) are named in a warning.
"""

import itertools
import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minires.errors import FileFormatError
from minires.io import files, hdf5
from minires.io.zip_reader import ZipReader

SUFFIXES = (".h5", ".hdf5", ".keras")
_ROOTS = "model_weights layers _layer_checkpoint_dependencies"  # the last: Keras 2.12 to 2.15
_INSIDE = "model.weights.h5"  # of a .keras archive
_OLD = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}
_LEGACY = re.compile(
    r"(?:.+_)?(kernel|bias|gamma|beta|moving_mean|moving_variance|running_mean|running_std|W|b)(?:_\d+)?(?::\d+)?"
)
_NUMBERED = {  # class of layers -> what its arrays are, in their order
    "conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
_CODE = ("Lambda", "TFOpLambda", "SlicingOpLambda")  # classes of layers that hold a program


def load_file(path: files.PathLike) -> dict[str, np.ndarray]:
    """The weights of a Keras file: "layer/weight" -> array, in Keras's own memory order (kernels: H, W, in, out).

    Layers of a model inside the model have its name in front. FileFormatError for a file that is damaged or no
    Keras file.
    """
    return from_bytes(files.read_bytes(path), path)


def from_bytes(data: bytes, path: files.PathLike) -> dict[str, np.ndarray]:
    """The weights in a Keras file's content; `path` only names it in errors."""
    arrays = _from_archive(data, path) if data[:4] == b"PK\3\4" else hdf5.from_bytes(data, path, _ROOTS)
    found: dict[str, np.ndarray] = {}
    for name, array in _named(arrays):
        if name in found:
            raise FileFormatError(path, None, f"two arrays are called {name!r}")
        found[name] = array.values
    return found


def _from_archive(data: bytes, path: files.PathLike) -> list[hdf5.Array]:
    archive = ZipReader(data, path)
    missing = [name for name in ("config.json", _INSIDE) if name not in archive.members]
    if missing:
        raise FileFormatError(path, None, f"this is no .keras archive: it lacks {missing[0]}")
    _warn_of_code(bytes(archive.read("config.json")), path)
    try:
        return hdf5.from_bytes(archive.read(_INSIDE), path, _ROOTS)
    except FileFormatError as error:  # its offset counts from the beginning of the member
        place = "" if error.offset is None else f" at byte {error.offset}"
        raise FileFormatError(path, None, f"{_INSIDE}{place}: {error.reason}") from error


def _named(arrays: Sequence[hdf5.Array]) -> Iterator[tuple[str, hdf5.Array]]:
    together: dict[str, int] = {}
    for array in arrays:
        parent = array.path.rpartition("/")[0]
        together[parent] = together.get(parent, 0) + 1
    for array in arrays:
        parent, _, last = array.path.rpartition("/")
        yield (_numbered(array, together[parent]) if parent.endswith("/vars") else _legacy(parent, last)), array


def _legacy(parent: str, last: str) -> str:
    match = _LEGACY.fullmatch(last)
    weight = last if match is None else _OLD.get(match[1], match[1])
    groups = parent.removeprefix("model_weights/").split("/")
    own = groups[:1] + [group for before, group in itertools.pairwise(groups) if group != before]
    return "/".join([*own, weight])


def _numbered(array: hdf5.Array, count: int) -> str:
    """layers/functional/layers/conv2d_7/vars/0, which is called conv1_conv, as functional/conv1_conv/kernel."""
    parts = [part for part in array.path.split("/") if part not in _ROOTS.split()]
    *owners, group, _, number = parts if len(parts) > 2 else ["", *parts]
    weights = _NUMBERED.get(re.sub(r"_\d+$", "", group), ())
    complete = len(weights) == count or (len(weights) == 2 and count == 1)  # a norm without gamma counts otherwise
    weight = weights[int(number)] if complete and number.isdecimal() and int(number) < count else number
    return "/".join([*owners, array.group_name or group, weight])


def _warn_of_code(config: bytes, path: files.PathLike) -> None:
    """Look through the description of the layers for those that are programs."""
    try:
        waiting: list[Any] = [json.loads(config.decode("utf-8"))]
    except (ValueError, RecursionError) as error:
        raise FileFormatError(path, None, f"config.json: {error}") from error
    names = []
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            kind, module = value.get("class_name"), value.get("module")
            own = isinstance(module, str) and module.split(".")[0] not in ("keras", "builtins")
            if isinstance(kind, str) and (kind in _CODE or own):
                settings = value.get("config")
                names.append(f"{settings.get('name') if isinstance(settings, dict) else None!r} ({kind})")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    if names:
        shown = ", ".join(sorted(set(names))[:5])[:300]
        warnings.warn(f"{os.fspath(path)}: layers that are code of its author's, which is not run: {shown}",
                      stacklevel=4)  # fmt: skip
