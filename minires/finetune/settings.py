"""Everything that can be set about a training job: one table for the API, the command line, TOML files and args.toml.

Each setting has a default, a range and one line of explanation. A default of None means "decided by the job": see
`RECIPES` for what `finetune` and `train` choose. `Settings.check` answers a senseless value before anything is made.
"""

import dataclasses
import difflib
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from minires.errors import UsageError
from minires.io.weights import is_weights_file

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "step", "multistep", "plateau", "onecycle", "constant")
TORCH_SCHEDULES = {
    "cosineannealinglr": "cosine", "steplr": "step", "multisteplr": "multistep", "reducelronplateau": "plateau",
    "onecyclelr": "onecycle", "constantlr": "constant",
}  # fmt: skip
EVAL_METRICS = ("top1", "loss")
DIGITS = "digits"  # the name of the data set that needs no files


def setting(
    default: Any, kind: str, text: str, *aliases: str, low: float | None = None, high: float | None = None,
    open_low: bool = False, open_high: bool = False, choices: Iterable[str] = (),
) -> Any:  # fmt: skip
    """One entry of the table. `kind`: int, float, str, bool, ints, floats, split or size; `low`, `high`: its range."""
    facts = {
        "kind": kind, "help": text, "aliases": aliases, "low": low, "high": high, "open_low": open_low,
        "open_high": open_high, "choices": tuple(choices),
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=facts)


@dataclass
class Settings:
    """The settings of one job. `Settings(data="photos", epochs=5)`; unknown names are answered with the nearest."""

    # data
    data: str | None = setting(None, "str", 'folder (CLASS/*.jpg or train/CLASS/*.jpg), CSV table or "digits"',
                               "--data-dir", "--data-path")  # fmt: skip
    train_split: str = setting("train", "str", "folder of the training pictures")
    val_split: str | float | None = setting(None, "split", "folder for validation, or a fraction (else 0.2)")
    test_split: str | float | None = setting(None, "split", "folder of the test pictures, or a fraction (else 0.1)")
    group_by: str | None = setting(None, "str", "regular expression on file names: equal matches share a split")
    class_map: str | None = setting(None, "str", "class order: a text file with one name a line, or JSON")
    samples_per_class: int | None = setting(None, "int", "train on this many pictures of each class only", low=1)
    task: str = setting("classification", "str", "what the labels are", choices=("classification", "regression"))
    on_bad_image: str = setting("error", "str", "unreadable picture: stop and name it, or leave it out and count it",
                                choices=("error", "skip"))  # fmt: skip
    workers: int = setting(0, "int", "threads that prepare batches (0: none)", "-j", low=0)

    # model
    model: str | None = setting(None, "str", "name of the model, such as resnet20 or resnet18 "
                                "(default for a weights file: what it holds), or a weights file; "
                                "with --weights none also a model directory or run that it is built like")  # fmt: skip
    weights: str | None = setting(None, "str", '"shapes" (built in, for resnet20), a .pth/.safetensors/.npz file '
                                  'or its URL, a model directory, a run, or "none"')  # fmt: skip
    head: str | None = setting(None, "str", 'new head: "linear", or sizes of hidden layers such as 1024,1024')
    head_dropout: float = setting(0.0, "float", "dropout before each layer of a head with hidden layers", low=0, high=1,
                                  open_high=True)  # fmt: skip
    freeze: str = setting("none", "str", 'what stays as it is: none, all-but-head (backbone), or "stem,layer1"')
    bn: str = setting("auto", "str", "batch norm statistics: frozen, batch (updated), auto (frozen where weights are)",
                      choices=("auto", "frozen", "batch"))  # fmt: skip

    # optimisation
    epochs: int | None = setting(None, "int", "passes over the training pictures", low=1)
    batch_size: int = setting(32, "int", "pictures a step", "-b", low=1)
    validation_batch_size: int | None = setting(None, "int", "pictures a batch in evaluation", "-vb", low=1)
    opt: str | None = setting(None, "str", "optimizer", "--optimizer", choices=OPTIMIZERS)
    lr: float | None = setting(None, "float", "learning rate", low=0, open_low=True)
    momentum: float = setting(0.9, "float", "momentum of SGD", low=0, high=1, open_high=True)
    weight_decay: float | None = setting(None, "float", "weight decay", "--wd", low=0)
    norm_weight_decay: float | None = setting(None, "float", "weight decay of norms and biases", low=0)
    sched: str = setting("cosine", "str", "learning-rate schedule", "--lr-scheduler", choices=SCHEDULES)
    warmup_epochs: float | None = setting(None, "float", "epochs of linear warm-up", "--lr-warmup-epochs", low=0)
    warmup_lr: float = setting(0.0, "float", "learning rate that the warm-up starts from", low=0)
    min_lr: float = setting(0.0, "float", "learning rate that cosine and plateau end at", "--lr-min", low=0)
    decay_epochs: float | None = setting(None, "float", "epochs between steps (step), or of patience (plateau)",
                                         "--lr-step-size", low=0, open_low=True)  # fmt: skip
    decay_rate: float = setting(0.1, "float", "factor of step, multistep and plateau", "--lr-gamma", low=0, high=1,
                                open_low=True, open_high=True)  # fmt: skip
    decay_milestones: tuple[int, ...] = setting((), "ints", "epochs at which multistep decays, such as 30,60", low=1)
    clip_grad: float | None = setting(None, "float", "largest norm of the gradient", "--clip-grad-norm", low=0,
                                      open_low=True)  # fmt: skip
    smoothing: float = setting(0.0, "float", "label smoothing", "--label-smoothing", low=0, high=1, open_high=True)

    # pictures
    img_size: int | None = setting(None, "int", "side of the model's input (default: what the weights were made for)",
                                   low=8, high=4096)  # fmt: skip
    no_aug: bool = setting(False, "bool", "train on the pictures as they are")
    scale: tuple[float, ...] = setting((0.6, 1.0), "floats", "area of the random crop, as parts of the picture", low=0,
                                       high=1, open_low=True)  # fmt: skip
    hflip: float | None = setting(None, "float", "probability of a mirror image (else 0.5; digits: 0)", low=0, high=1)
    vflip: float = setting(0.0, "float", "probability of a top-bottom flip", low=0, high=1)
    rotate: float = setting(0.0, "float", "random rotation, degrees to each side", "--degrees", low=0, high=180)
    color_jitter: float = setting(0.0, "float", "strength of random brightness, contrast and saturation", low=0, high=1)
    reprob: float = setting(0.0, "float", "probability of random erasing", "--random-erase", low=0, high=1)

    # the run
    seed: int = setting(42, "int", "seed of everything random", low=0)
    eval_metric: str = setting("top1", "str", "figure that chooses the best epoch", choices=EVAL_METRICS)
    patience: int = setting(10, "int", "stop after this many epochs without improvement (0: never)", low=0)
    min_delta: float = setting(0.0, "float", "smallest change that counts as improvement", low=0)
    checkpoint_interval: int | None = setting(None, "int", "steps between checkpoints (always: one an epoch)",
                                              "--recovery-interval", low=1)  # fmt: skip
    checkpoint_hist: int = setting(2, "int", "checkpoints kept", low=1)
    max_steps: int | None = setting(None, "int", "stop after this many steps; --resume goes on", low=1)

    def check(self) -> "Settings":
        """These settings, in their proper types. Raises UsageError that names the first senseless one."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                setattr(self, field.name, check_value(field, value))
        if not self.data:
            raise UsageError("no data given", code="usage.missing", hint="--data FOLDER, or --data digits to try it")
        if len(self.scale) != 2 or self.scale[0] > self.scale[1]:
            raise UsageError(f"--scale takes two numbers, smaller first, got {shown(self.scale)}", code="usage.value")
        if self.sched == "multistep" and not self.decay_milestones:
            raise UsageError("--sched multistep needs --decay-milestones", code="usage.missing")
        if self.sched == "step" and self.decay_epochs is None:
            raise UsageError("--sched step needs --decay-epochs", code="usage.missing")
        if self.task == "regression" and self.smoothing:
            raise UsageError("--smoothing is for classification", code="usage.conflict")
        if self.weights in ("none", None) and self.freeze != "none" and self.weights is not None:
            raise UsageError(f"--freeze {self.freeze} keeps weights as they are, and --weights none gives none to keep",
                             code="usage.conflict")  # fmt: skip
        if self.group_by is not None:
            try:
                re.compile(self.group_by)
            except re.error as error:
                message = f"--group-by {self.group_by!r} is not a regular expression: {error}"
                raise UsageError(message, code="usage.value") from error
        return self

    def resolved(self, recipe: str) -> "Settings":
        """A copy in which what was left open is decided by the recipe, "finetune" or "train".

        Only the model of a weights file stays open: the file says it (start.py).
        """
        chosen = dataclasses.replace(self)
        if chosen.weights is None and chosen.model is not None and is_weights_file(chosen.model):
            chosen.model, chosen.weights = None, chosen.model
        for name, value in RECIPES[recipe].items():
            says_its_model = name == "model" and chosen.weights is not None and is_weights_file(chosen.weights)
            if getattr(chosen, name) is None and not says_its_model:
                setattr(chosen, name, value)
        if chosen.lr is None:
            chosen.lr = LEARNING_RATES[recipe, chosen.opt or "adamw"]
        if chosen.weight_decay is None:
            chosen.weight_decay = 0.05 if chosen.opt == "adamw" else 0.0 if chosen.opt == "adam" else 5e-4
        if chosen.norm_weight_decay is None:
            chosen.norm_weight_decay = 0.0 if recipe == "finetune" else chosen.weight_decay
        if chosen.hflip is None:
            chosen.hflip = 0.0 if chosen.data == DIGITS else 0.5
        return chosen

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, as args.toml holds them."""
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in dataclasses.asdict(self).items()}  # fmt: skip


RECIPES: dict[str, dict[str, Any]] = {
    "finetune": {"model": "resnet20", "weights": "shapes", "head": "linear", "epochs": 20, "opt": "adamw",
                 "warmup_epochs": 1.0},
    "train": {"model": "resnet20", "weights": "none", "head": "linear", "epochs": 60, "opt": "sgd",
              "warmup_epochs": 2.0},
}  # fmt: skip
LEARNING_RATES = {
    ("finetune", "adamw"): 1e-3, ("finetune", "adam"): 1e-3, ("finetune", "sgd"): 1e-2,
    ("train", "adamw"): 3e-3, ("train", "adam"): 3e-3, ("train", "sgd"): 5e-2,
}  # fmt: skip

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


def make_settings(values: Mapping[str, Any], source: str = "the arguments") -> Settings:
    """Settings from names and values. Raises UsageError for an unknown name, with the nearest known one."""
    for name in values:
        if name not in FIELDS:
            raise unknown_name(name, FIELDS, f"unknown setting {name!r} in {source}")
    return Settings(**dict(values))


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
    return ",".join(f"{item:g}" for item in value) if isinstance(value, list | tuple) else str(value)


def check_value(field: dataclasses.Field, value: Any) -> Any:
    """`value`, which may be text, in the setting's type. Raises UsageError naming the setting and its range."""
    facts, name = field.metadata, flag(field.name)
    kind = facts["kind"]
    try:
        value = _convert(kind, value)
    except (TypeError, ValueError) as error:
        expected = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text",
                    "ints": "whole numbers such as 30,60", "floats": "numbers such as 0.6,1",
                    "split": "the name of a folder or a fraction"}[kind]  # fmt: skip
        raise UsageError(f"{name} takes {expected}, got {value!r}", code="usage.value") from error
    if kind == "str" and facts["choices"]:
        word = value.lower()
        word = TORCH_SCHEDULES.get(word, word) if field.name == "sched" else word
        if word not in facts["choices"]:
            known = f"{name} is one of {', '.join(facts['choices'])}; got {value!r}"
            raise unknown_name(word, facts["choices"], known)
        return word
    if kind == "split":
        if isinstance(value, float) and not 0 <= value < 1:
            raise UsageError(f"{name} is a fraction from 0 up to but not including 1, got {value:g}",
                             code="usage.value")  # fmt: skip
        return value
    if kind not in ("str", "bool"):
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
