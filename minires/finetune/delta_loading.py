"""A delta and its base as one trained model, for `load_model`, `minires predict` and `minires evaluate`."""

import os
from collections.abc import Callable
from typing import Any

from minires import models
from minires.data import Preprocessing
from minires.errors import UsageError
from minires.finetune.adapters import apply_delta, remove
from minires.finetune.adapters.delta import KEY, read_delta
from minires.io import download, safetensors

Load = Callable[[str], Any]  # from the path of a base to what load_model gives


def is_delta(path: str) -> bool:
    """Whether a file says that it is a delta. FileFormatError for a damaged .safetensors file."""
    return path.lower().endswith(".safetensors") and KEY in safetensors.read_metadata(path)


def base_and_delta(path: str, base: str | os.PathLike[str] | None, load: Load) -> tuple[Any, dict[str, Any]]:
    """(model, its record) of the delta at `path`, applied to its base; the adapters are merged.

    base: a weights file, a model's folder, a URL, or the name of built-in weights. Raises UsageError without one,
    DeltaError if it is another one's base.
    """
    _, record = read_delta(path)
    name = record["base"]["name"]
    if base is None:
        message = f"{path} is a delta: it says what has changed of a {name}, and needs that one, too"
        hint = "--base with the weights that it was made of"
        raise UsageError(message, code="usage.missing", file=path, hint=hint)
    text = os.fspath(base)
    if os.path.exists(text) or download.is_url(text) or os.sep in text or "." in text:
        loaded = load(text)
        model, preprocessing = loaded.model, loaded.preprocessing.to_config()
    else:
        model = models.create(name, weights=text)
        preprocessing = Preprocessing.from_config(models.embedded_info(name, text)["preprocessing"]).to_config()
    apply_delta(model, path)
    remove(model)
    model.metadata["preprocessing"] = record["preprocessing"] or preprocessing
    classes = record["classes"]
    if classes is None:  # nobody said what they are called
        classes = [str(number) for number in range(model.config["num_classes"])]
    return model.eval(), {"preprocessing": model.metadata["preprocessing"], "classes": classes, "metrics": {},
                          "task": model.metadata.get("task")}  # fmt: skip
