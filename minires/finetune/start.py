"""The model that a job starts from: which weights, and what they say about themselves."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minires import models, random
from minires.data import Preprocessing
from minires.errors import FileFormatError, UsageError
from minires.finetune.embedding_jobs import head_for
from minires.finetune.embedding_settings import makes_embeddings
from minires.finetune.heads import parse_head, replace_head
from minires.finetune.loading import model_folder, published_preprocessing
from minires.finetune.model_options import create_model
from minires.finetune.settings import Settings, unknown_name
from minires.io import download, model_directory
from minires.tensor import Tensor

WHERE_FROM = ("published weights do not come with minires: give the path or the URL of a file, such as "
              "https://download.pytorch.org/models/resnet50-11ad3fa6.pth")  # fmt: skip


@dataclass
class Start:
    """Configuration, tensors (None: random numbers) and preprocessing that a job begins with, and a line about them."""

    config: dict[str, Any]
    tensors: dict[str, Any] | None
    preprocessing: Preprocessing
    origin: str
    left_out: list[str] = field(default_factory=list)


def find_start(
    settings: Settings, say: Callable[[str], None] = download.print_line, progress: bool | None = None
) -> Start:
    """What `--model`, `--weights` and `--in-chans` mean together. UsageError for unknown names and missing files.

    Weights at a URL are downloaded unless they are in the cache: say and progress are io.download's.
    """
    found = _find(settings, say, progress)
    return found if settings.in_chans is None else adapt_channels(found, settings.in_chans)


def _find(settings: Settings, say: Callable[[str], None], progress: bool | None) -> Start:
    weights = settings.weights
    if download.is_url(weights):
        _check_name(settings.model)
        weights = download.local(weights, say, progress)
    if weights is not None and os.path.isfile(weights):
        return _of_file(weights, settings)
    if settings.model is None:
        raise UsageError(f"no weights file {weights}", code="weights.missing", file=weights, hint=WHERE_FROM)
    name = settings.model
    if name not in models.list_models():
        if weights in (None, "none") and os.path.isdir(name):
            like = _of_folder(name)
            return Start(like.config, None, like.preprocessing, f"random numbers, built like {name}")
        _check_name(name)
    if weights in (None, "none"):
        return Start({"name": name}, None, models.preprocessing(name), "random numbers")
    if os.path.isdir(weights):
        return _of_folder(weights)
    if os.sep in weights or "." in weights:
        raise UsageError(f"no weights file {weights}", code="weights.missing", file=weights, hint=WHERE_FROM)
    tensors = {key: tensor.array for key, tensor in models.registry.read_weights(name, weights).items()}
    info = models.embedded_info(name, weights)
    preprocessing = Preprocessing.from_config(info["preprocessing"])
    return Start(info.get("config", {"name": name}), tensors, preprocessing, f"{weights} (built in)")


def _of_file(path: str, settings: Settings) -> Start:
    """The model in a weights file. Which one it is, if `settings.model` does not say, is noted there."""
    _check_name(settings.model)
    config, state, known = models.loading.read_file(path, settings.model)
    settings.model = config["name"]
    tensors = {key: tensor.array for key, tensor in state.items()}
    preprocessing = _of_config(known["preprocessing"], path) if known else published_preprocessing(config, path)
    return Start(config, tensors, preprocessing, path)


def adapt_channels(start: Start, channels: int) -> Start:
    """The start for pictures of 1, 3 or 4 channels: the first convolution (keys.adapt_stem) and the preprocessing."""
    own = start.config.get("in_channels", 3)
    if channels == own:
        return start
    try:
        preprocessing = models.recipes.for_channels(start.preprocessing, channels)
    except ValueError as error:
        raise UsageError(f"--in-chans {channels}: {error}", code="usage.value") from error
    config, tensors, origin = {**start.config, "in_channels": channels}, start.tensors, start.origin
    if tensors is not None:
        options = {key: value for key, value in config.items() if key not in ("name", "num_classes", "in_channels")}
        stem = models.registry.target(config["name"], options).stem
        tensors = {**tensors, stem: models.keys.adapt_stem(Tensor(np.asarray(tensors[stem])), channels).array}
        origin = f"{origin} (first convolution adapted from {own} channels to {channels})"
    return Start(config, tensors, preprocessing, origin)


def _check_name(name: str | None) -> None:
    known = models.list_models()
    plain = (name or "").rpartition("/")[2].partition(".")[0]  # timm/resnet50.a1_in1k
    if name is not None and name not in known and plain in known:
        raise UsageError(f"no model {name!r}: here it is {plain}, and its weights are a file of their own",
                         code="usage.unknown", hint=f"--model {plain} --weights FILE")  # fmt: skip
    if name is not None and name not in known:
        raise unknown_name(name, known, f"no model {name!r} among {', '.join(known)}")


def _of_folder(path: str) -> Start:
    """The model in a model directory or run, with its weights."""
    parts = model_directory.load_parts(model_folder(path))
    preprocessing = _of_config(parts["preprocessing"], os.path.join(path, "preprocessing.json"))
    return Start(parts["config"], parts["tensors"], preprocessing, path)


def _of_config(config: dict[str, Any], source: str) -> Preprocessing:
    try:
        return Preprocessing.from_config(config)
    except (ValueError, TypeError) as error:
        raise FileFormatError(source, None, str(error)) from error


def build_model(start: Start, settings: Settings, outputs: int) -> Any:
    """The starting model with a new head of `outputs` outputs. The same settings give the same bits.

    Weights of another head are left out and listed in `start.left_out`; anything else missing is a FileFormatError.
    """
    config = {key: value for key, value in start.config.items() if key not in ("num_classes", "head")}
    with random.address(settings.seed, "model"):
        model = create_model(config, settings.model_kwargs, max(outputs, 1))
        if start.tensors is not None:
            _load_body(model, start)
        if makes_embeddings(settings):
            model.reset_head(head_for(model, settings, outputs))
        else:
            replace_head(model, outputs, parse_head(settings.head), settings.head_dropout)
    return model


def _load_body(model: Any, start: Start) -> None:
    prefix = f"{model.head_name}."
    given = {name: Tensor(np.asarray(array)) for name, array in (start.tensors or {}).items()}
    start.left_out = [name for name in given if name.startswith(prefix)]
    body = {name: tensor for name, tensor in given.items() if not name.startswith(prefix)}
    own_head = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(prefix)}
    try:
        model.load_state_dict({**body, **own_head})
    except (RuntimeError, KeyError) as error:
        reason = f"these weights do not fit the model {start.config['name']}: {error}"
        raise FileFormatError(start.origin, None, " ".join(reason.split())) from error
