"""`mr.save` and `mr.load`: a model's tensors in a .safetensors, .npz or torch file (.pth), none of which runs code.

Keras's files are read, too, under their own names ("conv1_conv/kernel") and with their own order of axes.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minires.backend import device, move, resolved
from minires.errors import FileFormatError, UsageError
from minires.io import download, files, keras_files, npz, safetensors, state_dicts, torch_file, torch_write
from minires.io.suffixes import READ_SUFFIXES, SUFFIXES, TORCH_SUFFIXES, is_weights_file
from minires.tensor import Tensor

__all__ = ["READ_SUFFIXES", "SUFFIXES", "TORCH_SUFFIXES", "is_weights_file", "load", "save"]


def save(obj: Any, f: files.PathLike) -> None:
    """Write a state dict (names -> tensors or arrays), or a module's, to `f`; the suffix names the format.

    .safetensors, .npz, or for torch .pth, .pt, .bin, .ckpt: `torch.load(f, weights_only=True)` gives back the same
    names, order, types and bits. Differs from torch.save: only tensors are written. Whole or not at all.
    Raises UsageError for another suffix, TypeError naming what is not a tensor.
    """
    kind = _kind(f, "save")
    entries = obj.state_dict() if hasattr(obj, "state_dict") else obj
    if not isinstance(entries, Mapping):
        raise TypeError(f"save takes a state dict or a module, got {type(obj).__name__}")
    files.write_atomic(f, _WRITERS.get(kind, torch_write.to_bytes)({n: _array(n, v) for n, v in entries.items()}))


_WRITERS: dict[str, Callable[[Mapping[str, np.ndarray]], bytes]] = {
    ".safetensors": safetensors.to_bytes, ".npz": npz.to_bytes,
}  # fmt: skip


def load(
    f: files.PathLike, map_location: Any = None, *, weights_only: bool = True, ema: bool = False
) -> dict[str, Tensor]:
    """The tensors in a .safetensors, .npz, torch or Keras (.h5, .keras) file, by name. Loading never executes anything.

    f: its path, or its URL: what is not in the cache is downloaded (see download.py, which says what it raises).
    map_location: the device where the tensors go, the CPU unless said otherwise, wherever they were saved.
    weights_only=False, which lets torch run what a file says, is refused (NotImplementedError).
    Torch files may be anything a training script leaves (see state_dicts.py for what is taken of it, and
    torch_file.load_object for all that is there). ema: the copy averaged over the training instead. bfloat16 becomes
    float32, which holds it exactly. Entries that hold no numbers are left out with a warning, and so are objects, such
    as the argparse.Namespace of a training script.
    Raises UsageError for another suffix, FileFormatError for a damaged file, FileAccessError for a missing one,
    TypeError for a map_location that is no device, RuntimeError for a GPU that is not there.
    """
    if not isinstance(map_location, str | device | type(None)):
        raise TypeError(f'map_location is a device, such as "cuda:1", or None, got {type(map_location).__name__}')
    if weights_only is False:
        raise NotImplementedError("load: weights_only=False is not supported, since nothing in a file is ever executed")
    place = resolved("cpu" if map_location is None else map_location)
    arrays = _arrays_of(download.local(f), ema)
    return {name: Tensor(move(array, place)) for name, array in arrays.items()}


def _arrays_of(f: files.PathLike, ema: bool) -> Mapping[str, np.ndarray]:
    kind = _kind(f, "load")
    if kind in TORCH_SUFFIXES:
        return _of_torch(f, ema)
    if ema:
        raise UsageError(f"ema: {os.fspath(f)} holds one set of tensors; averaged ones are found in torch files only",
                         code="usage.value", file=os.fspath(f))  # fmt: skip
    return _READERS[kind](f)


_READERS: dict[str, Callable[[files.PathLike], dict[str, np.ndarray]]] = {
    ".safetensors": safetensors.load_file, ".npz": npz.load_file,
    **dict.fromkeys(keras_files.SUFFIXES, keras_files.load_file),
}  # fmt: skip


def _of_torch(path: files.PathLike, ema: bool) -> dict[str, np.ndarray]:
    found = torch_file.load_object(path)
    state, left_out = state_dicts.find_weights(found.obj, path, ema)
    for what, names in (("left out, since they are no tensors", left_out),
                        ("not made, since nothing in a file is executed", found.ignored)):  # fmt: skip
        if names:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            warnings.warn(f"{os.fspath(path)}: {what}: {shown}", stacklevel=4)
    arrays = {}
    for name, value in state.items():
        try:
            arrays[name] = value.numpy()
        except TypeError as error:
            raise FileFormatError(path, None, f"the tensor {name!r}: {error}") from error
    return arrays


def _kind(path: files.PathLike, verb: str) -> str:
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    known = READ_SUFFIXES if verb == "load" else SUFFIXES
    if suffix in known and (verb == "load" or suffix != ".tar"):
        return suffix
    message = f"cannot {verb} {os.fspath(path)}: {suffix or 'a file without a suffix'} is not one of "
    message += ", ".join(known)
    raise UsageError(message, code="file.unknown_format", file=os.fspath(path))


def _array(name: object, value: Any) -> np.ndarray:
    if not isinstance(name, str):
        raise TypeError(f"the key {name!r} is not text")
    if isinstance(value, Tensor):
        return move(value.array, "cpu")
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    raise TypeError(f"the entry {name!r} is of type {type(value).__name__}, not a tensor")
