"""A trained model from a file or a folder, with all that it needs to know about pictures and classes."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from minires import models
from minires.data import Preprocessing, read_class_map
from minires.errors import FileFormatError, UsageError
from minires.finetune.tasks import Task, make_task
from minires.finetune.tta import TestTimeAugmentation
from minires.io import checkpoint, download, model_directory, toml
from minires.nn import compile_inference


@dataclass
class LoadedModel:
    """A model in eval mode with its preprocessing, class names (none: regression) and the figures of its training.

    record: what its file says of its task; None: classification where there are classes, else regression.
    """

    model: Any
    preprocessing: Preprocessing
    classes: list[str]
    metrics: dict[str, Any]
    path: str
    record: Mapping[str, Any] | None = None

    @property
    def kind(self) -> Task:
        """What its labels are, and what follows from it (finetune/tasks)."""
        return make_task(self.record, self.classes)

    @property
    def task(self) -> str:
        """ "classification", "multi-label", "ordinal" or "regression"."""
        return self.kind.name

    def with_threshold(self, threshold: float) -> "LoadedModel":
        """The same, saying all labels above another probability. UsageError for a model that is not multi-label."""
        if self.task != "multi-label":
            raise UsageError(f"--threshold is for multi-label models; {self.path} is for {self.task}",
                             code="usage.conflict")  # fmt: skip
        return replace(self, record={**(self.record or {}), "threshold": threshold, "thresholds": None})

    def fused(self) -> "LoadedModel":
        """The same with batch norms folded into convolutions (`compile_inference`): faster, equal but for rounding."""
        return replace(self, model=compile_inference(self.model))

    def with_views(self, count: int) -> "LoadedModel":
        """The same, answering with the mean over `count` views of each picture (tta.py); itself for 1."""
        if count == 1:
            return self
        return replace(self, model=TestTimeAugmentation(self.model, count, self.kind.views).eval())


def model_folder(path: str | os.PathLike[str]) -> str:
    """The model directory that `path`, a model directory or a run folder, means. Raises UsageError if it is neither."""
    name = os.fspath(path)
    for folder in (name, os.path.join(name, "model")):
        if model_directory.is_model_directory(folder):
            return folder
    if not os.path.lexists(name):
        raise UsageError(f"no model {name}: there is no such folder", code="model.missing", file=name)
    if os.path.isfile(os.path.join(name, "args.toml")):
        raise unfinished(name, "holds no model yet: its run has not ended")
    raise UsageError(f"{name} is no model: it has no model.safetensors", code="model.missing", file=name)


def unfinished(run: str, what: str) -> UsageError:
    """The error for a run that is not at its end: how it goes on, and the checkpoint that is a model meanwhile."""
    kept, settings = checkpoint.list_checkpoints(os.path.join(run, "checkpoints")), toml.load_file(
        os.path.join(run, "args.toml"))  # fmt: skip
    plain = settings.get("strategy") not in ("lora", "ssf", "adapter")  # adapters are no part of the model yet
    meanwhile = f", or take its newest checkpoint: {kept[0]}" if kept and plain else ""
    command = settings.get("command", "finetune")
    return UsageError(f"{run} {what}", code="model.missing", file=run,
                      hint=f"minires {command} --resume {run}{meanwhile}")  # fmt: skip


def load_model(
    path: str | os.PathLike[str], class_map: str | os.PathLike[str] | None = None, name: str | None = None, *,
    base: str | os.PathLike[str] | None = None, say: Callable[[str], None] = download.print_line,
    progress: bool | None = None,
) -> LoadedModel:  # fmt: skip
    """The model in a model directory, a run folder, a file of `minires export`, a run's checkpoint, or a weights file.

    path: may be the URL of a file, which is downloaded unless it is in the cache: say, progress are io.download's.
    `say` is also told what is taken for granted about a weights file.
    A weights file (.pth, .npz, ...) says which model it holds (`name`, where it fits several), and how pictures are
    prepared follows from the table of published weights; its classes are called 0, 1, 2, ... unless the file
    `class_map` names them. The others know all that. A delta (adapters.save_delta) needs its `base`, which may be any
    of these or the name of built-in weights. Raises UsageError for another path, FileFormatError for damage.
    """
    path = download.local(os.fspath(path), say, progress)
    name_of_file = os.fspath(path)
    from minires.finetune.delta_loading import base_and_delta, is_delta  # adapters and all: for those who load models

    alone = os.path.isfile(path) and not _inside_model_directory(path)
    found = model_directory.load_file(path) if alone else None
    if alone and found is None and is_delta(name_of_file):
        found = base_and_delta(name_of_file, base, lambda file: load_model(file, say=say, progress=progress))
    elif base is not None:
        raise UsageError(f"{name_of_file} is no delta and has no base", code="usage.conflict", file=name_of_file)
    if alone and found is None:
        loaded = _load_file(name_of_file, class_map, name)
        say(what_was_taken(loaded))
        return loaded
    if class_map is not None or name is not None:
        raise UsageError(f"{name_of_file} knows its classes and its model: class names are for weights files",
                         code="usage.conflict", file=name_of_file)  # fmt: skip
    if found is not None:
        return _with_record(*found, name_of_file, name_of_file)
    folder = model_folder(os.path.dirname(name_of_file) if os.path.isfile(path) else path)
    return _with_record(*model_directory.load(folder), folder, os.path.join(folder, "preprocessing.json"))


def _with_record(model: Any, info: dict[str, Any], path: str, source: str) -> LoadedModel:
    """The model and what its record says; `source` is the file to blame for a preprocessing that makes no sense."""
    if isinstance(model, models.FCN):
        raise UsageError(f"{path} gives a class for each pixel: it is used from Python, mr.models.load({path!r})",
                         code="usage.not_built", file=path)  # fmt: skip
    try:
        preprocessing = Preprocessing.from_config(info["preprocessing"])
        channels = model.config.get("in_channels", 3)
        if len(preprocessing.mode) != channels:
            raise ValueError(f"pictures of the mode {preprocessing.mode} for a model of {channels} channels")
    except (ValueError, TypeError) as error:
        raise FileFormatError(source, None, str(error)) from error
    loaded = LoadedModel(model, preprocessing, list(info["classes"]), info["metrics"], path, info.get("task"))
    try:
        fits = loaded.kind.name == "regression" or loaded.kind.outputs == model.config["num_classes"]
    except (ValueError, TypeError, AttributeError) as error:
        raise FileFormatError(source, None, str(error)) from error
    if not fits and info.get("task") is not None:
        raise FileFormatError(source, None, f"{model.config['num_classes']} outputs do not go with the task "
                              f"{loaded.task} and {len(loaded.classes)} classes")  # fmt: skip
    return loaded


def _inside_model_directory(path: str | os.PathLike[str]) -> bool:
    """Whether a file is the weights of a model directory, which says more about them than they do."""
    folder, name = os.path.split(os.path.abspath(path))
    return name == "model.safetensors" and os.path.exists(os.path.join(folder, "config.json"))


def _load_file(path: str, class_map: str | os.PathLike[str] | None, name: str | None) -> LoadedModel:
    if name is not None and name not in models.list_models():
        raise UsageError(f"no model {name!r} among {', '.join(models.list_models())}", code="usage.unknown")
    model = models.load(path) if name is None else models.create(name, weights=path).eval()
    config = model.config
    preprocessing = published_preprocessing(config, path)
    classes = [str(index) for index in range(config["num_classes"])]
    if class_map is not None:
        order = read_class_map(class_map, number_repeats=True)
        if len(order) != len(classes):
            message = f"{os.fspath(class_map)} names {len(order)} classes, the model in {path} has {len(classes)}"
            raise UsageError(message, code="data.class_map", file=os.fspath(class_map))
        classes = sorted(order, key=lambda each: order[each])
    return LoadedModel(model, preprocessing, classes, {}, path)


def what_was_taken(loaded: LoadedModel) -> str:
    """One line about a weights file, which says of itself neither how pictures are prepared nor what classes mean."""
    name, how = loaded.model.config["name"], loaded.preprocessing
    known = models.recipes.find(name, loaded.path) is not None
    source = "as published with these weights" if known else f"as is usual for {name}, since these weights are unknown"
    size = f"resized to {_size(how.resize)}" if how.resize else "of any size"
    size += f", {_size(how.crop)} cut out" if how.crop else ""
    return f"{loaded.path}: {name}, {len(loaded.classes)} classes; pictures {size} ({source})"


def _size(side: int | tuple[int, int]) -> str:
    return str(side) if isinstance(side, int) else f"{side[0]} x {side[1]}"


def published_preprocessing(config: dict[str, Any], path: str) -> Preprocessing:
    """What the table of published weights says of those in a file, for as many channels as the model takes.

    UsageError if pictures cannot have so many.
    """
    try:
        return models.recipes.for_channels(models.preprocessing(config["name"], path), config.get("in_channels", 3))
    except ValueError as error:
        raise UsageError(f"the model in {path} takes pictures of {config['in_channels']} channels: {error}",
                         code="weights.channels", file=path) from error  # fmt: skip
