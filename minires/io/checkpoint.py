"""A checkpoint: one file that holds a run's tensors and its state, and knows whether it is intact.

The file is a safetensors file. Its metadata has one entry, `minires_checkpoint`, a JSON object of `format_version`,
`minires_version`, `state` (JSON text; see strict_json) and `sha256` over the tensors' names, types, shapes and values
and over all of the other entries. One file cannot disagree with another, and a flipped bit is found. Files are named
step-00001230.safetensors; the newest valid one is found by looking, so that there is no pointer file to tear.
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from minires.errors import FileFormatError, MiniresError
from minires.io import files, safetensors, strict_json
from minires.version import __version__

FORMAT_VERSION = 1
KEY = "minires_checkpoint"  # in the metadata of a safetensors file
BEST_KEY = "minires_best"  # in that of the weights of the best epoch
MODEL = "model."  # what the names of the model's tensors begin with
_NAME = re.compile(r"step-(\d{8,})\.safetensors")


class FutureFormatError(FileFormatError):
    """An intact file of a format that this version does not know. Every format keeps the rule of the checksum."""

    code = "file.future"


class Checkpoint(NamedTuple):
    """A checkpoint that was read and found intact."""

    path: str
    tensors: dict[str, np.ndarray]
    state: dict[str, Any]


def file_name(step: int) -> str:
    """Name of the checkpoint file of a step, such as step-00001230.safetensors."""
    return f"step-{step:08d}.safetensors"


def save(path: files.PathLike, tensors: Mapping[str, np.ndarray], state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all. `state`: what strict_json.dumps takes; NaN and infinity are kept.

    Raises FileAccessError if the disk refuses: what was at `path` before is still there.
    """
    files.write_atomic(path, to_bytes(tensors, state))


def to_bytes(tensors: Mapping[str, np.ndarray], state: dict[str, Any]) -> bytes:
    """The content of a checkpoint file."""
    record: dict[str, Any] = {"format_version": FORMAT_VERSION, "minires_version": __version__}
    record["state"] = strict_json.dumps(state)
    record["sha256"] = _digest(tensors, record)
    return safetensors.to_bytes(tensors, {KEY: json.dumps(record)})


def load(path: files.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(tensors, state) of a checkpoint. FileFormatError if it is damaged, FutureFormatError if of a later format."""
    return from_bytes(files.read_bytes(path), path)


def from_bytes(data: bytes, path: files.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(tensors, state) of a checkpoint file's content; `path` only names it in FileFormatError."""
    tensors, metadata = safetensors.from_bytes(data, path)
    if KEY not in metadata:
        raise FileFormatError(path, None, "a safetensors file, but not a checkpoint of a minires run")
    return tensors, read_state(tensors, metadata[KEY], path)


def read_state(tensors: Mapping[str, np.ndarray], text: str, path: files.PathLike) -> dict[str, Any]:
    """The state in the record `text` of a checkpoint, which these tensors belong to. Errors as in `from_bytes`."""
    try:
        record = json.loads(text)
        version, digest, state = record["format_version"], record["sha256"], record["state"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(path, 8, f"the checkpoint's record is damaged: {error!r}") from error
    if _digest(tensors, record) != digest:
        raise FileFormatError(path, None, "the checksum (sha256) does not match: the file is damaged")
    if version != FORMAT_VERSION:
        raise future_format(path, f"checkpoint format {version}", FORMAT_VERSION, record)
    try:
        return strict_json.loads(state)
    except (ValueError, TypeError) as error:
        raise FileFormatError(path, 8, f"the state is damaged: {error}") from error


def future_format(path: files.PathLike, what: str, known: int, record: Mapping[str, Any]) -> FutureFormatError:
    """The error for `what`, such as "model format 3", written by the minires that the record names."""
    reason = f"{what} of minires {record.get('minires_version')}; this is minires {__version__} with {known}"
    return FutureFormatError(path, 8, reason, hint="install the version of minires that wrote it, or a later one")


def best_parts(tensors: Mapping[str, np.ndarray], text: str, path: files.PathLike) -> dict[str, Any]:
    """As `model_parts`, for a file of the best epoch's weights and what stands in its metadata."""
    try:
        state = strict_json.loads(text)
        return model_parts({f"{MODEL}{name}": array for name, array in tensors.items()}, state, path)
    except (ValueError, TypeError, AttributeError) as error:
        raise FileFormatError(path, 8, f"the record of the best epoch is damaged: {error}") from error


def model_parts(tensors: Mapping[str, np.ndarray], state: Mapping[str, Any], path: files.PathLike) -> dict[str, Any]:
    """The model in a checkpoint: its tensors, config, preprocessing and classes, as a model's file has them.

    What a run knows of its model stands in the state under "about". Without it config is None: then there are tensors
    only. The outputs of a regression in training are in units of the labels' spread (finetune/targets.py): here they
    are put back. FileFormatError if that is not possible, or there is no model.
    """
    own = {name.removeprefix(MODEL): array for name, array in tensors.items() if name.startswith(MODEL)}
    if not own:
        raise FileFormatError(path, 8, "a checkpoint without a model's tensors")
    about = state.get("about")
    if about is None:
        return {"tensors": own, "config": None, "preprocessing": {}, "classes": []}
    try:
        scale = about.get("outputs")
        if scale is not None:
            weight, bias = f"{scale['layer']}.weight", f"{scale['layer']}.bias"
            mean, deviation = np.asarray(scale["mean"]), np.asarray(scale["deviation"])
            own[weight] = own[weight] * deviation[:, None].astype(own[weight].dtype)
            own[bias] = (own[bias] * deviation + mean).astype(own[bias].dtype)
        task = {"task": about["task"]} if "task" in about else {}
        return {"tensors": own, **{name: about[name] for name in ("config", "preprocessing", "classes")}, **task}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise FileFormatError(path, 8, f"what the checkpoint says of its model is incomplete: {error!r}") from error


def newest_valid(folder: files.PathLike, warn: Callable[[str], None] = warnings.warn) -> Checkpoint | None:
    """The newest intact checkpoint in `folder`, None if there is no checkpoint file at all.

    A damaged one is passed over and reported to `warn`. Raises FileFormatError if there are some but none is intact (a
    run must never silently start over), and FutureFormatError if the newest intact one is of a later format.
    """
    found = list_checkpoints(folder)
    for path in found:
        try:
            return Checkpoint(path, *load(path))
        except FutureFormatError:
            raise
        except MiniresError as error:
            warn(f"checkpoint passed over: {error}")
    if found:
        raise FileFormatError(folder, None, f"none of the {len(found)} checkpoints can be read")
    return None


def list_checkpoints(folder: files.PathLike) -> list[str]:
    """Paths of the checkpoint files in `folder`, newest (highest step) first; [] if there is no such folder."""
    if not os.path.isdir(folder):
        return []
    names = [name for name in files.list_folder(folder) if _NAME.fullmatch(name)]
    return [os.path.join(folder, name) for name in sorted(names, key=step_of, reverse=True)]


def step_of(name: files.PathLike) -> int:
    """Step in the name of a checkpoint file. Raises ValueError for any other name."""
    match = _NAME.fullmatch(os.path.basename(name))
    if match is None:
        raise ValueError(f"{os.fspath(name)!r} is not the name of a checkpoint (step-00001230.safetensors)")
    return int(match[1])


def prune(folder: files.PathLike, keep: int = 2) -> list[str]:
    """Remove all but the `keep` newest intact checkpoints; returns the removed paths.

    Damaged ones are not counted, and those newer than the last one kept stay where they are, to be looked at.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}")
    intact, removed = 0, []
    for path in list_checkpoints(folder):
        if intact >= keep:
            files.remove(path, missing_ok=True)
            removed.append(path)
        elif _is_intact(path):
            intact += 1
    return removed


def _is_intact(path: str) -> bool:
    try:
        load(path)
    except FutureFormatError:
        return True
    except MiniresError:
        return False
    return True


def _digest(tensors: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in record.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.asarray(tensors[name])
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(json.dumps([name, little.dtype.str, array.shape]).encode())
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
