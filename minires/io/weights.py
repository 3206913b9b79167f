"""`mr.save` and `mr.load`: a model's tensors in a .safetensors or .npz file, which hold data and never code."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from minires.backend import move
from minires.errors import UsageError
from minires.io import files, npz, safetensors
from minires.tensor import Tensor


def save(obj: Any, f: files.PathLike) -> None:
    """Write a state dict (names -> tensors or arrays), or a module's, to `f`; the suffix names the format.

    Differs from torch.save: only tensors are written, and only as .safetensors or .npz. Whole or not at all.
    Raises UsageError for another suffix, TypeError naming what is not a tensor.
    """
    kind = _kind(f, "save")
    entries = obj.state_dict() if hasattr(obj, "state_dict") else obj
    if not isinstance(entries, Mapping):
        raise TypeError(f"save takes a state dict or a module, got {type(obj).__name__}")
    arrays = {name: _array(name, value) for name, value in entries.items()}
    files.write_atomic(f, safetensors.to_bytes(arrays) if kind == ".safetensors" else npz.to_bytes(arrays))


def load(f: files.PathLike) -> dict[str, Tensor]:
    """The tensors in a .safetensors or .npz file, by name. Loading never executes anything from a file.

    Raises UsageError for another suffix, FileFormatError for a damaged file, FileAccessError for a missing one.
    """
    kind = _kind(f, "load")
    arrays = safetensors.load_file(f) if kind == ".safetensors" else npz.load_file(f)
    return {name: Tensor(array) for name, array in arrays.items()}


def _kind(path: files.PathLike, verb: str) -> str:
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix in (".safetensors", ".npz"):
        return suffix
    hint = None
    if suffix in (".pth", ".pt", ".bin", ".ckpt"):
        hint = "this version does not read pickled torch files: convert it with safetensors.torch.save_file"
    message = f"cannot {verb} {os.fspath(path)}: {suffix or 'a file without a suffix'} is not .safetensors or .npz"
    raise UsageError(message, code="file.unknown_format", file=os.fspath(path), hint=hint)


def _array(name: object, value: Any) -> np.ndarray:
    if not isinstance(name, str):
        raise TypeError(f"the key {name!r} is not text")
    if isinstance(value, Tensor):
        return move(value.array, "cpu")
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    raise TypeError(f"the entry {name!r} is of type {type(value).__name__}, not a tensor")
