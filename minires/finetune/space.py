"""The space of a search, in words: "lr=1e-4..1e-1", "epochs=5..20", "opt=sgd,adamw".

NAME=LOW..HIGH      any number between; whole numbers where the setting takes whole ones. Where both ends are above 0
                    and the higher is at least ten times the lower, equal ratios are equally likely (logarithmic);
                    ":log" or ":linear" at the end says it
NAME=A,B,C          one of these
"""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minires.errors import UsageError
from minires.finetune.setting_values import check_value
from minires.finetune.settings import FIELDS
from minires.random import philox

NOT_SEARCHED = ("data", "seed", "fold", "review", "max_steps", "max_time", "eval_metric", "val_split", "test_split",
                "train_split", "task", "labels", "image_column", "label_delim", "workers", "worker_type", "device",
                "amp")  # fmt: skip
SEVERAL = ("ints", "floats", "words")  # kinds of settings whose values have commas themselves
LOGARITHMIC_FROM = 10  # times the lower end


@dataclass(frozen=True)
class Dimension:
    """One setting. kind: "log", "linear", "int" or "choice"."""

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()

    def draw(self, seed: int, number: int) -> Any:
        """The value of a trial, from the address (seed, name; number)."""
        generator = philox(seed, f"search {self.name}", number)
        if self.kind == "choice":
            return self.choices[int(generator.integers(len(self.choices)))]
        if self.kind == "int":
            return int(generator.integers(int(self.low), int(self.high) + 1))
        share = float(generator.random())
        if self.kind == "log":
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)

    def for_optuna(self, optuna: Any) -> Any:
        """The same for Optuna."""
        if self.kind == "choice":
            return optuna.distributions.CategoricalDistribution(self.choices)
        if self.kind == "int":
            return optuna.distributions.IntDistribution(int(self.low), int(self.high))
        return optuna.distributions.FloatDistribution(self.low, self.high, log=self.kind == "log")

    def place(self, value: Any) -> float:
        """Where a value stands on the axis of a plot."""
        if self.kind == "choice":
            return float(self.choices.index(value) + 1)
        return math.log10(value) if self.kind == "log" else float(value)

    @property
    def axis(self) -> str:
        """What that axis is called."""
        if self.kind == "choice":
            return f"{self.name}: " + ", ".join(f"{place} {value}" for place, value in enumerate(self.choices, 1))
        return f"log10 of {self.name}" if self.kind == "log" else self.name


def parse_space(words: Sequence[str]) -> list[Dimension]:
    """The dimensions that the words say. Raises UsageError naming the word that makes no sense."""
    found: list[Dimension] = []
    for word in words:
        name, sign, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or not text:
            raise UsageError(f"--space takes NAME=LOW..HIGH or NAME=A,B,C, got {word!r}", code="usage.value")
        if name not in FIELDS:
            near = difflib.get_close_matches(name, list(FIELDS), n=1)
            raise UsageError(f"--space: no setting {name!r}{f'; did you mean {near[0]}?' if near else ''}",
                             code="usage.unknown")  # fmt: skip
        if name in NOT_SEARCHED or FIELDS[name].metadata["kind"] in SEVERAL:
            raise UsageError(f"--space: {name} cannot be searched", code="usage.conflict")
        if any(other.name == name for other in found):
            raise UsageError(f"--space: {name} stands there twice", code="usage.conflict")
        found.append(_range(name, text, word) if ".." in text else _choice(name, text))
    if not found:
        raise UsageError("--space is missing: what is to be searched?", code="usage.missing")
    return found


def _choice(name: str, text: str) -> Dimension:
    if FIELDS[name].metadata["kind"] == "bool":
        words = {"true": True, "false": False}
        if not set(text.lower().split(",")) <= set(words):
            raise UsageError(f"--space: {name} is true or false, got {text!r}", code="usage.value")
        return Dimension(name, "choice", choices=tuple(words[word] for word in text.lower().split(",")))
    return Dimension(name, "choice", choices=tuple(check_value(FIELDS[name], part.strip()) for part in text.split(",")))


def _range(name: str, text: str, word: str) -> Dimension:
    kind = FIELDS[name].metadata["kind"]
    if kind not in ("int", "float"):
        raise UsageError(f"--space {word}: {name} is no number; name its values: {name}=A,B", code="usage.value")
    ends, _, wish = text.partition(":")
    low, high = (check_value(FIELDS[name], end) for end in ends.split("..", 1))
    if wish not in ("", "log", "linear") or not low < high:
        raise UsageError(f"--space {word}: a range is LOW..HIGH with LOW below HIGH, and perhaps :log or :linear",
                         code="usage.value")  # fmt: skip
    if wish == "log" and low <= 0:
        raise UsageError(f"--space {word}: a logarithmic range begins above 0", code="usage.value")
    if kind == "int":
        if wish == "log":
            raise UsageError(f"--space {word}: whole numbers are drawn evenly; name them: {name}=8,16,32",
                             code="usage.value")  # fmt: skip
        return Dimension(name, "int", low, high)
    by_ratio = wish == "log" or (wish == "" and low > 0 and high / low >= LOGARITHMIC_FROM)
    return Dimension(name, "log" if by_ratio else "linear", low, high)
