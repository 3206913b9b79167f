"""A model from a weights file alone: which one it is follows from the names and shapes of its tensors."""

import functools
import inspect
import os
from typing import Any

from minires.errors import FileFormatError, UsageError
from minires.io import download, files, model_directory
from minires.io import weights as weight_files
from minires.models import keras_keys, keys, registry
from minires.tensor import Tensor

# models with the same names and shapes as another, which is meant unless they are named
ONLY_BY_NAME = tuple(registry.list_models("plain*"))


def load(f: files.PathLike, *, num_classes: int | None = None, ema: bool = False, **options: Any) -> registry.Model:
    """The model that a weights file was saved from, with its weights, in eval mode.

    f: a .safetensors, .npz, torch or Keras file, a checkpoint of a run, the URL of one, or a model folder. num_classes,
    in_channels: as in `create`, for a new head or a stem adapted to other pictures; ema: the copy averaged over the
    training. What a folder, checkpoint or exported file says beside the weights is in the model's `metadata`.
    FileFormatError, naming models and tensors, if the tensors fit none or several: then `create(name, weights=f)` says
    which is meant.
    """
    f = download.local(f)
    if os.path.isdir(f):
        if num_classes is not None or ema or options:
            raise UsageError(f"{os.fspath(f)} is a model folder, which says itself how its model is built",
                             code="usage.conflict", file=os.fspath(f))  # fmt: skip
        return model_directory.load(f)[0]
    recorded = None if ema else model_directory.read_file(f)
    fitted = identify(weight_files.load(f, ema=ema), f) if recorded is None else fit_recorded(recorded, f)
    fitted.target.options.update(options)
    model = registry.fill(fitted, num_classes, f).eval()
    if recorded is not None and recorded["config"] is not None:
        known = ("preprocessing", "classes", "task")
        model.metadata = {name: recorded[name] for name in known if recorded.get(name) is not None}
    return model


def fit_recorded(parts: dict[str, Any], source: files.PathLike, name: str | None = None) -> keys.Fitted:
    """The tensors of a file that says which model they are of (model_directory.read_file), for that model.

    name: the model that is asked for, if any; then that is what they must fit. FileFormatError if they do not.
    """
    state = {key: Tensor(array) for key, array in parts["tensors"].items()}
    if parts["config"] is None or name not in (None, parts["config"].get("name")):
        return identify(state, source, name)
    options = {key: value for key, value in parts["config"].items() if key not in ("num_classes", "in_channels")}
    own = options.pop("name", None)
    try:
        target = registry.target(own, options)
    except (TypeError, ValueError) as error:
        raise FileFormatError(source, None, f"the model it names cannot be built: {error}") from error
    return keys.fit(state, [target], source)


def identify(state: dict[str, Tensor], source: files.PathLike, name: str | None = None) -> keys.Fitted:
    """The state dict of the file `source` under the names of the model that it fits; `name`: among those called so."""
    state, name, own = keras_keys.adopt(state, source, name)
    names = registry.list_models() if name is None else [name]
    targets = [target for each in names for target in _targets(each)]
    fitted = keys.fit(state, targets, source, ONLY_BY_NAME if name is None else ())
    options = {**fitted.target.options, **own}
    fitted.target = keys.Target(**{**fitted.target.__dict__, "options": options})  # one's own copy
    return fitted


@functools.cache
def _targets(name: str) -> list[keys.Target]:
    """The model of this name, and the variants of it whose weights are about: CIFAR ResNets with shortcuts "B"."""
    variants: list[dict[str, Any]] = [{}]
    usual = registry.family_of(name).names[name]
    if "shortcut" in inspect.signature(registry.family_of(name)).parameters and usual.get("shortcut", "A") == "A":
        variants.append({"shortcut": "B"})
    return [registry.target(name, options) for options in variants]


def read_file(f: files.PathLike, name: str | None = None) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """A weights file as (config, state dict, what else it says) for somebody who builds the model.

    `create(**config)` has these tensors. name: the model, if it is known; else it is inferred. Without a head in the
    file the config has no num_classes. The rest is "preprocessing" and "classes" where the file has them, else empty.
    """
    recorded = model_directory.read_file(f)
    fitted = identify(weight_files.load(f), f, name) if recorded is None else fit_recorded(recorded, f, name)
    config = {"name": fitted.target.name, **fitted.target.options}
    if fitted.in_channels != 3:
        config["in_channels"] = fitted.in_channels
    if fitted.num_classes is not None:
        config["num_classes"] = fitted.num_classes
    known = {} if recorded is None or recorded["config"] is None else recorded
    return config, fitted.state, {key: known[key] for key in ("preprocessing", "classes") if key in known}
