"""A delta: what a run has changed of its base, as a small file that is of use together with that base only.

It holds the trained parameters, those of adapters, all buffers (batch norm's statistics), the whole head, the class
names, the preprocessing, and a fingerprint of the base: applied to any other model it is refused, since numbers that
were learnt beside other weights mean nothing.

    base = Base.of(model)                     # before anything is changed
    strategy = lora(model, rank=4)            # ... train ...
    save_delta(model, "delta.safetensors", base)

    model = mr.models.resnet50(weights="file.pth")
    apply_delta(model, "delta.safetensors")   # predicts as the trained one did
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from minires.backend import move
from minires.errors import FileFormatError, MiniresError
from minires.finetune.adapters.base import adapters_of, refuse_adapters, take_out
from minires.finetune.adapters.lora import LoRA, add_lora
from minires.finetune.adapters.parallel import ParallelConv2d, add_parallel
from minires.finetune.adapters.ssf import SSF, add_ssf
from minires.io import files, safetensors
from minires.models.heads import build_head, describe_head
from minires.tensor import Tensor
from minires.training.weights import copy_weights, restore_weights

FORMAT_VERSION = 1
KEY = "minires_delta"
OWN = (*LoRA.own, *SSF.own, *ParallelConv2d.own)  # the last parts of the names of adapters' parameters


class DeltaError(MiniresError):
    """A delta that does not belong to this model. Codes: delta.base, delta.classes."""

    code = "delta.base"


@dataclass(frozen=True)
class Base:
    """What a delta has to know of the model that it changes: name, fingerprint of all but the head, outputs."""

    name: str
    fingerprint: str
    outputs: int

    @classmethod
    def of(cls, model: Any) -> "Base":
        """Take it down before the model is changed. UsageError for a model that has adapters already."""
        refuse_adapters(model)
        config = model.config
        return cls(config["name"], fingerprint(model), config["num_classes"])


def base_of(model: Any, start: Any) -> Base:
    """The base of a job: its model with a new head already; the outputs are those of the head it came with."""
    base = Base.of(model)
    heads = [np.shape(start.tensors[name])[0] for name in start.left_out if np.ndim(start.tensors[name]) == 2]
    return replace(base, outputs=heads[-1]) if heads else base


def fingerprint(model: Any) -> str:
    """SHA-256 of the names, types, shapes and values of all tensors before the head, of the adapters too."""
    digest = hashlib.sha256()
    for name, tensor in _state(model).items():
        if not _in_head(model, name):
            array = np.ascontiguousarray(tensor)
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def save_delta(
    model: Any, path: files.PathLike, base: Base, preprocessing: Mapping[str, Any] | None = None,
    classes: Sequence[str] = (),
) -> None:  # fmt: skip
    """Write what was trained: parameters that have a gradient now, adapters, buffers, and the head.

    preprocessing, classes: what the model's metadata say unless given (no classes: its outputs are numbers, and where
    nobody says, they are classes without names). ValueError for adapters that are merged.
    """
    if any(layer.originals is not None for layer in adapters_of(model)):
        raise ValueError("these adapters are merged: unmerge(model) first, so that the delta holds them alone")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in model.named_buffers()}
    own = {name for name, _ in model.named_parameters() if name.rpartition(".")[2] in OWN}
    kept = {name: array for name, array in _state(model).items()
            if name in trained | buffers | own or _in_head(model, name)}  # fmt: skip
    known = getattr(model, "metadata", {})
    record = {
        "format_version": FORMAT_VERSION, "base": asdict(base), "adapters": _describe(model),
        "head": describe_head(model.get_submodule(model.head_name), model.num_features),
        "preprocessing": dict(preprocessing or known.get("preprocessing") or {}),
        "classes": list(named) if (named := classes or known.get("classes")) is not None else None,
        **({"task": known["task"]} if "task" in known else {}),
    }  # fmt: skip
    safetensors.save_file(kept, path, {KEY: json.dumps(record, allow_nan=False)})


def read_delta(path: files.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(tensors, record) of a delta. FileFormatError for any other file and for damage."""
    tensors, metadata = safetensors.from_bytes(files.read_bytes(path), path)
    if KEY not in metadata:
        raise FileFormatError(path, None, "this is no delta: its metadata do not say what it changes")
    try:
        record = json.loads(metadata[KEY])
        version = record["format_version"]
        Base(**record["base"])
        complete = {"adapters", "head", "preprocessing", "classes"} <= set(record)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FileFormatError(path, None, f"the record of the delta is damaged: {error}") from error
    if version != FORMAT_VERSION or not complete:
        raise FileFormatError(path, None, f"a delta of the format {version}, this version reads {FORMAT_VERSION}")
    return tensors, record


def apply_delta(model: Any, path: files.PathLike, num_classes: int | None = None) -> dict[str, Any]:
    """Make of its base the model that was trained: adapters, head, statistics and all. Returns the delta's record.

    The model keeps its adapters; `remove(model)` makes plain layers of them. Raises DeltaError, and changes nothing,
    for another base, a delta that was applied before, and a number of classes other than the delta's: that of
    `num_classes`, or of a model whose head has neither the base's outputs nor the delta's. UsageError for a model that
    has adapters, FileFormatError for a damaged file.
    """
    refuse_adapters(model)
    tensors, record = read_delta(path)
    base, head = Base(**record["base"]), record["head"]
    own, outputs = model.config, head.get("num_classes")
    source = str(path)
    if num_classes not in (None, outputs):
        raise DeltaError(f"{source} is for {outputs} classes, not {num_classes}", code="delta.classes", file=source)
    if own["num_classes"] not in (base.outputs, outputs):
        raise DeltaError(f"{source} is for {outputs} classes, the model has a head for {own['num_classes']}",
                         code="delta.classes", file=source, hint="give it the base as it was loaded")  # fmt: skip
    if own["name"] != base.name:
        raise DeltaError(f"{source} changes a {base.name}, this is a {own['name']}", code="delta.base", file=source)
    if fingerprint(model) != base.fingerprint:
        raise DeltaError(f"{source} belongs to other weights of {base.name} (or was applied to these before)",
                         code="delta.base", file=source)  # fmt: skip
    before, old_head = copy_weights(model), model.get_submodule(model.head_name)
    try:
        _put(model, tensors, record)
    except (KeyError, ValueError, RuntimeError, TypeError, IndexError) as error:
        _take_back(model, before, old_head)
        raise FileFormatError(path, None, " ".join(f"this delta does not fit its own base: {error}".split())) from error
    return record


PLAIN: dict[str, Callable[[Any], Any]] = {"ssf": add_ssf, "parallel": add_parallel}  # kinds without settings


def _put(model: Any, tensors: Mapping[str, np.ndarray], record: dict[str, Any]) -> None:
    head, adapters = record["head"], record["adapters"]
    model.reset_head(build_head(head["head"]) if "head" in head else head["num_classes"])
    if adapters["kind"] == "lora":
        for layer in add_lora(model, adapters["rank"]):
            layer.scaling = float(adapters["scaling"])
    elif adapters["kind"] in PLAIN:
        PLAIN[adapters["kind"]](model)
    elif adapters["kind"] != "none":
        raise ValueError(f"adapters of the kind {adapters['kind']!r} are unknown")
    own = {name for name, _ in model.named_parameters() if name.rpartition(".")[2] in OWN}
    needed = own | {name for name in model.state_dict() if _in_head(model, name)}
    report = model.load_state_dict({name: Tensor(array) for name, array in tensors.items()}, strict=False)
    lacking = sorted(needed & set(report.missing_keys))
    if lacking or report.unexpected_keys:
        raise ValueError(f"it lacks {lacking[:3]} and has {list(report.unexpected_keys)[:3]}")
    task = {"task": record["task"]} if "task" in record else {}
    model.metadata = {"preprocessing": record["preprocessing"], "classes": record["classes"] or [], **task}


def _take_back(model: Any, before: Mapping[str, Any], head: Any) -> None:
    """The model as it was before a delta that did not fit."""
    take_out(model)
    model.reset_head(head)
    restore_weights(model, before)


def _describe(model: Any) -> dict[str, Any]:
    """The adapters in words."""
    layers = adapters_of(model)
    if not layers:
        return {"kind": "none"}
    first = layers[0]
    if not isinstance(first, LoRA):
        return {"kind": "ssf" if isinstance(first, SSF) else "parallel"}
    rank = max(layer.lora_A.shape[0] for layer in layers)
    return {"kind": "lora", "rank": rank, "scaling": first.scaling}


def _state(model: Any) -> dict[str, np.ndarray]:
    return {name: move(tensor.array, "cpu") for name, tensor in model.state_dict().items()}


def _in_head(model: Any, name: str) -> bool:
    return name.startswith(f"{model.head_name}.")
