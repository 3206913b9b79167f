"""Values of settings: from text to the proper type, in range; errors name the setting and the nearest word."""

import dataclasses
import difflib
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from minires.errors import UsageError

EXPECTED = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "text",
    "ints": "whole numbers such as 30,60", "floats": "numbers such as 0.6,1",
    "split": "the name of a folder or a fraction", "duration": "a time such as 90s, 30m, 2h or 1h30m",
    "words": "words",
    "cadence": "a number of steps, or a time such as 10m", "workers": 'a whole number or "auto"',
}  # fmt: skip
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
TASK_WORDS = {"single": "classification", "single-label": "classification", "multilabel": "multi-label",
              "multi_label": "multi-label", "multi": "multi-label"}  # fmt: skip
LOSS_WORDS = {"cross_entropy": "ce", "cross-entropy": "ce", "bce_with_logits": "bce", "binary_cross_entropy": "bce",
              "smooth_l1": "huber", "smooth-l1": "huber", "mae": "l1", "l2": "mse"}  # fmt: skip
TORCH_SCHEDULES = {
    "cosineannealinglr": "cosine", "steplr": "step", "multisteplr": "multistep", "reducelronplateau": "plateau",
    "onecyclelr": "onecycle", "constantlr": "constant", "linearlr": "linear", "polynomiallr": "poly",
    "exponentiallr": "exponential", "cosineannealingwarmrestarts": "restarts",
}  # fmt: skip
ELSEWHERE = {("opt", "sam"): "SAM goes around any of the optimizers: --opt sgd --sam"}  # what has a flag of its own
OTHER_WORDS = {"sched": TORCH_SCHEDULES, "task": TASK_WORDS, "loss": LOSS_WORDS,
               "eval_metric": {"accuracy": "top1", "kappa": "qwk", "f1": "macro_f1"}}  # fmt: skip


def setting(
    default: Any, kind: str, text: str, *aliases: str, low: float | None = None, high: float | None = None,
    open_low: bool = False, open_high: bool = False, choices: Iterable[str] = (), bare: str | None = None,
) -> Any:  # fmt: skip
    """One entry of the table. `kind`: one of EXPECTED; `low`, `high`: its range. `bare`: what the flag alone says."""
    facts = {
        "kind": kind, "help": text, "aliases": aliases, "low": low, "high": high, "open_low": open_low,
        "open_high": open_high, "choices": tuple(choices), "bare": bare,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=facts)


def unknown_name(name: str, known: Iterable[str], message: str) -> UsageError:
    """The error for a mistyped name."""
    near = difflib.get_close_matches(name, list(known), n=5, cutoff=0.6)
    if not near:
        return UsageError(message, code="usage.unknown")

    def likeness(other: str) -> tuple[float, int]:  # of equal ones the one that begins as the given name does
        shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(other, name, strict=False)))
        return difflib.SequenceMatcher(a=other, b=name).ratio(), shared

    hint = f"did you mean {max(near, key=likeness)!r}?"
    return UsageError(f"{message}; {hint}", code="usage.unknown", hint=hint)


def flag(name: str) -> str:
    """The command line's spelling of a setting's name."""
    return "--" + name.replace("_", "-")


def shown(value: Any) -> str:
    """A value as somebody would type it."""
    if not isinstance(value, list | tuple):
        return str(value)
    return ",".join(item if isinstance(item, str) else f"{item:g}" for item in value)


def check_value(field: dataclasses.Field, value: Any) -> Any:
    """`value`, which may be text, in the setting's type. Raises UsageError naming the setting and its range."""
    facts, name = field.metadata, flag(field.name)
    kind = facts["kind"]
    try:
        value = _convert(kind, value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} takes {EXPECTED[kind]}, got {value!r}", code="usage.value") from error
    if kind == "str" and facts["choices"]:
        word = value.lower()
        word = OTHER_WORDS.get(field.name, {}).get(word, word)
        if word not in facts["choices"]:
            if (field.name, word) in ELSEWHERE:
                raise UsageError(f"{name} {value}: {ELSEWHERE[field.name, word]}", code="usage.unknown")
            known = f"{name} is one of {', '.join(facts['choices'])}; got {value!r}"
            raise unknown_name(word, facts["choices"], known)
        return word
    if kind == "split":
        if isinstance(value, float) and not 0 <= value < 1:
            raise UsageError(f"{name} is a fraction from 0 up to but not including 1, got {value:g}",
                             code="usage.value")  # fmt: skip
        return value
    if kind in ("cadence", "workers") and isinstance(value, str):
        return value
    if kind not in ("str", "bool", "words"):
        for number in value if isinstance(value, tuple) else (value,):
            _check_range(name, number, facts)
    return value


def _convert(kind: str, value: Any) -> Any:
    match kind:
        case "int":
            if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
                raise ValueError
            return int(value)
        case "float":
            if isinstance(value, bool):
                raise ValueError
            return float(value)
        case "bool":
            if not isinstance(value, bool):
                raise ValueError
            return value
        case "ints" | "floats":
            items = value.split(",") if isinstance(value, str) else value
            return tuple(_convert(kind[:-1], item) for item in items)
        case "words":
            words = value.split() if isinstance(value, str) else value
            return tuple(_convert("str", word) for word in words)
        case "duration":
            return seconds(value) if isinstance(value, str) else _convert("float", value)
        case "cadence":
            if isinstance(value, str) and not value.strip().isdigit():
                return value if seconds(value) else _convert("int", 0)
            return _convert("int", value)
        case "workers":
            return "auto" if value == "auto" else _convert("int", value)
        case "split":
            try:
                return float(value)
            except ValueError:
                return str(value)
        case _:
            if not isinstance(value, str):
                raise ValueError
            return value


def _check_range(name: str, number: float, facts: Mapping[str, Any]) -> None:
    low, high = facts["low"], facts["high"]
    below = low is not None and (number <= low if facts["open_low"] else number < low)
    above = high is not None and (number >= high if facts["open_high"] else number > high)
    if math.isfinite(number) and not below and not above:
        return
    at_least = "" if low is None else f"above {low:g}" if facts["open_low"] else f"at least {low:g}"
    at_most = "" if high is None else f"below {high:g}" if facts["open_high"] else f"at most {high:g}"
    limits = " and ".join(limit for limit in (at_least, at_most) if limit) or "finite"
    raise UsageError(f"{name} must be {limits}, got {number:g}", code="usage.value")


def seconds(text: str) -> float:
    """The duration that "90s", "30m", "2h", "1h30m" or a bare number of seconds says. ValueError for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip().lower())
    if not parts or re.sub(r"(\d+(?:\.\d+)?)\s*([smhd])\s*", "", text.strip().lower()):
        return float(text)
    return sum(float(number) * SECONDS[unit] for number, unit in parts)
