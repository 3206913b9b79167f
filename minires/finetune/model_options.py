"""`--model-kwargs stem=cifar zero_init_residual=true`: options of a model's own, which are no settings of a job."""

from collections.abc import Sequence
from typing import Any

from minires import models
from minires.errors import UsageError

# Options that follow from something else, and from what.
DECIDED = {"num_classes": "the data decide it", "name": "--model says it", "in_channels": "--in-chans says it",
           "head": "--head says it", "weights": "--weights says it"}  # fmt: skip
WORDS = {"true": True, "false": False, "none": None}


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """{"stem": "cifar", ...} from ["stem=cifar", ...]. Numbers, true, false and none become what they say."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--model-kwargs takes name=value, got {text!r}", code="usage.value")
        if name in DECIDED:
            raise UsageError(f"--model-kwargs {text}: {DECIDED[name]}", code="usage.conflict")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def create_model(config: dict[str, Any], texts: Sequence[str], outputs: int) -> Any:
    """The model of `config` with the options in `texts`. UsageError for an option that it does not take."""
    options = parse_options(texts)
    try:
        return models.create(**{**config, **options}, num_classes=outputs)
    except (TypeError, ValueError, KeyError) as error:
        if not options:
            raise
        shown = " ".join(texts)
        raise UsageError(f"--model-kwargs {shown} is not for {config['name']}: {error}", code="usage.value") from error
