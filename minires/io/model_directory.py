"""A model as a folder that leaves the house: weights, configuration, preprocessing, class names, figures, a read-me.

    model.safetensors  config.json  preprocessing.json  classes.txt  metrics.json  README.md

The folder's truth is model.safetensors, which is written first, in one step, and carries the configuration, the
preprocessing and the class names in its metadata: a save that is killed half-way leaves a model that fits together.
The other files say the same for people and other programs; one that differs is reported by a warning. Folders without
that metadata (made by hand or elsewhere) are read from their files.
"""

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minires.backend import move
from minires.errors import FileFormatError
from minires.io import checkpoint, files, safetensors, strict_json
from minires.version import __version__

FORMAT_VERSION = 1
_WEIGHTS, _KEY = "model.safetensors", "minires_model"


def save(
    model: Any, path: files.PathLike, preprocessing: Mapping[str, Any] | None = None,
    classes: Sequence[str] = (), metrics: Mapping[str, Any] | None = None, task: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write `model` (with `state_dict()` and `config`) as a folder.

    preprocessing: the settings that rebuild the evaluation transform. classes: names in the order of their indices.
    metrics: figures for metrics.json and the read-me. task: what the labels are, where that is more than classes or
    numbers (finetune/tasks); it stands in the weights' metadata and in task.json.
    """
    tensors = {name: move(tensor.array, "cpu") for name, tensor in model.state_dict().items()}
    save_parts(path, tensors, model.config, preprocessing, classes, metrics, task)


def save_parts(
    path: files.PathLike, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any],
    preprocessing: Mapping[str, Any] | None = None, classes: Sequence[str] = (),
    metrics: Mapping[str, Any] | None = None, task: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write a model given as plain data. Raises ValueError for a class name that is empty or holds a line break."""
    wrong = [name for name in classes if not name or name.splitlines() != [name]]
    if wrong:
        raise ValueError(f"{wrong[0]!r} cannot be the name of a class in classes.txt")
    files.make_folder(path)
    parts = save_file(os.path.join(path, _WEIGHTS), tensors, config, preprocessing, classes, task)
    texts = _companions(parts)
    texts["metrics.json"] = strict_json.report(dict(metrics or {}))
    texts["README.md"] = _read_me(parts, dict(metrics or {}), tensors)
    for name, text in texts.items():
        files.write_atomic(os.path.join(path, name), text)


def save_file(
    path: files.PathLike, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any],
    preprocessing: Mapping[str, Any] | None = None, classes: Sequence[str] = (),
    task: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the one file that holds all of a model: tensors, and the rest in its metadata. Returns the rest."""
    parts: dict[str, Any] = {
        "config": dict(config), "preprocessing": dict(preprocessing or {}), "classes": list(classes),
    }  # fmt: skip
    if task is not None:
        parts["task"] = dict(task)
    versions = {"format_version": FORMAT_VERSION, "minires_version": __version__}
    record = json.dumps({**versions, **parts}, allow_nan=False)
    safetensors.save_file(tensors, path, {_KEY: record})
    return parts


def load(path: files.PathLike, warn: Callable[[str], None] = warnings.warn) -> tuple[Any, dict[str, Any]]:
    """(model, info) of a model folder; the model is in eval mode, `info` is what `load_parts` gives without tensors."""
    return _build(load_parts(path, warn), path)


def load_file(path: files.PathLike) -> tuple[Any, dict[str, Any]] | None:
    """As `load`, for one file that says what it holds (see `read_file`); None for one that holds tensors only."""
    parts = read_file(path)
    return None if parts is None or parts["config"] is None else _build(parts, path)


def read_file(path: files.PathLike) -> dict[str, Any] | None:
    """What `save_file` wrote, or the model in a checkpoint, as plain data; None for any other weights file.

    Of a checkpoint that does not say how its model is built, "config" is None. FileFormatError for damage.
    """
    if not os.fspath(path).lower().endswith(".safetensors"):
        return None
    tensors, metadata = safetensors.from_bytes(files.read_bytes(path), path)
    if _KEY in metadata:
        return {"tensors": tensors, **_read_record(metadata, path), "metrics": {}}
    if checkpoint.KEY in metadata:
        state = checkpoint.read_state(tensors, metadata[checkpoint.KEY], path)
        return {**checkpoint.model_parts(tensors, state, path), "metrics": {}}
    if checkpoint.BEST_KEY in metadata:
        return {**checkpoint.best_parts(tensors, metadata[checkpoint.BEST_KEY], path), "metrics": {}}
    return None


def _build(parts: dict[str, Any], path: files.PathLike) -> tuple[Any, dict[str, Any]]:
    from minires.models import create  # here, so that models may use the other files of minires.io

    try:
        model = create(**parts["config"])
        model.load_state_dict(parts.pop("tensors"))
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = f"its tensors do not fit the model {parts['config'].get('name')}: {error}"
        raise FileFormatError(path, None, " ".join(reason.split())) from error
    model.metadata = {name: parts[name] for name in ("preprocessing", "classes", "task") if parts.get(name) is not None}
    return model.eval(), parts


def load_parts(path: files.PathLike, warn: Callable[[str], None] = warnings.warn) -> dict[str, Any]:
    """A model folder as plain data: tensors (dict of arrays), config, preprocessing, classes, metrics.

    Raises FileFormatError naming the file that is damaged, FileAccessError for one that is missing.
    """
    weights = os.path.join(path, _WEIGHTS)
    tensors, metadata = safetensors.from_bytes(files.read_bytes(weights), weights)
    if _KEY not in metadata:
        parts = _read_companions(path)
    else:
        parts = _read_record(metadata, weights)
        for name, text in _companions(parts).items():
            companion = os.path.join(path, name)
            if not os.path.exists(companion) or files.read_text(companion) != text:
                warn(f"{companion} is not what was saved with {weights} (edited, or a save was interrupted); "
                     "the latter's copy is used")  # fmt: skip
    metrics = os.path.join(path, "metrics.json")
    parts["metrics"] = _parse(files.read_text(metrics), metrics) if os.path.exists(metrics) else {}
    return {"tensors": tensors, **parts}


def _read_record(metadata: Mapping[str, str], path: files.PathLike) -> dict[str, Any]:
    record = _parse(metadata[_KEY], path)
    version = record.get("format_version", 1)  # the first models did not say it
    if version != FORMAT_VERSION:
        raise checkpoint.future_format(path, f"model format {version}", FORMAT_VERSION, record)
    parts: dict[str, Any] = {name: record[name] for name in ("config", "preprocessing", "classes") if name in record}
    if len(parts) < 3:
        raise FileFormatError(path, 8, "the record of the model is incomplete")
    return {**parts, "task": record["task"]} if "task" in record else parts


def is_model_directory(path: files.PathLike) -> bool:
    """Whether `path` is a folder that holds a model."""
    return os.path.isfile(os.path.join(path, _WEIGHTS))


def _companions(parts: Mapping[str, Any]) -> dict[str, str]:
    """The files that repeat what the metadata of the weights says."""
    return {
        "config.json": json.dumps(parts["config"], indent=2, allow_nan=False) + "\n",
        "preprocessing.json": json.dumps(parts["preprocessing"], indent=2, allow_nan=False) + "\n",
        "classes.txt": "".join(f"{name}\n" for name in parts["classes"]),
        **({"task.json": json.dumps(parts["task"], indent=2, allow_nan=False) + "\n"} if "task" in parts else {}),
    }


def _read_companions(path: files.PathLike) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("config", "preprocessing"):
        file = os.path.join(path, f"{name}.json")
        found[name] = _parse(files.read_text(file), file)
    classes = os.path.join(path, "classes.txt")
    found["classes"] = files.read_text(classes).splitlines() if os.path.exists(classes) else []
    if os.path.exists(file := os.path.join(path, "task.json")):
        found["task"] = _parse(files.read_text(file), file)
    return found


def _parse(text: str, path: files.PathLike) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(path, None, f"not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise FileFormatError(path, None, "expected a JSON object")
    return found


def _read_me(parts: Mapping[str, Any], metrics: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    numbers = sum(array.size for array in tensors.values())
    lines = [f"# {parts['config'].get('name', 'model')}", "", f"Written by minires {__version__}.", ""]
    lines += [f"- numbers in the weights and buffers: {numbers:,}"]
    if parts["classes"]:
        shown = ", ".join(parts["classes"][:20]) + (", ..." if len(parts["classes"]) > 20 else "")
        lines += [f"- classes ({len(parts['classes'])}): {shown}"]
    lines += [f"- {name}: {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float)]
    lines += ["", "| file | content |", "| --- | --- |"]
    lines += [f"| {name} | {content} |" for name, content in _FILES]
    lines += ["", "Use it:", "", "    minires predict THIS_FOLDER PICTURE...", ""]
    return "\n".join(lines)


_FILES = (
    ("model.safetensors", "weights and buffers under torchvision's names; the next three files again in its metadata"),
    ("config.json", "what rebuilds the model: minires.create(**config)"),
    ("preprocessing.json", "how pictures become the model's input"),
    ("classes.txt", "class names, one a line, in the order of the outputs"),
    ("metrics.json", "figures measured when it was saved"),
)
