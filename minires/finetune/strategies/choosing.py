"""From the settings of a job to its strategy: --strategy, --freeze, --unfreeze-at and --bn together."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from minires import random
from minires.errors import UsageError
from minires.finetune.adapters.lora import lora
from minires.finetune.adapters.parallel import parallel
from minires.finetune.adapters.ssf import ssf
from minires.finetune.freezing import parse_freeze
from minires.finetune.settings import LORA_RANK, Settings
from minires.finetune.strategies.parts import batch_norm_only, bitfit
from minires.finetune.strategies.plan import Strategy
from minires.finetune.strategies.staged import full, gradual, head, lp_ft

MAKERS: dict[str, Callable[[Any, Settings], Strategy]] = {
    "full": lambda model, settings: full(model),
    "head": lambda model, settings: head(model),
    "lp-ft": lambda model, settings: lp_ft(model, settings.epochs or 1),
    "gradual": lambda model, settings: gradual(model, settings.epochs or 1),
    "lora": lambda model, settings: lora(model, settings.lora_rank or LORA_RANK, settings.lora_alpha),
    "bitfit": lambda model, settings: bitfit(model),
    "bn": lambda model, settings: batch_norm_only(model),
    "ssf": lambda model, settings: ssf(model),
    "adapter": lambda model, settings: parallel(model),
}
SMALL = ("head", "lora", "bitfit", "bn", "ssf", "adapter")  # change so little that a delta is worth keeping


def choose_strategy(model: Any, settings: Settings) -> Strategy:
    """What the settings say together; the model is switched to its first epoch, and has its adapters.

    --freeze takes stages out, --unfreeze-at puts stages in at an epoch, in this order. Raises UsageError for stages and
    epochs that do not exist, and if nothing would be trained in the first epoch.
    """
    with random.address(settings.seed, "adapters"):
        strategy = MAKERS[settings.strategy](model, settings)
    frozen = parse_freeze(model, settings.freeze)
    starts = {name: start for name, start in strategy.starts.items() if name not in frozen}
    starts |= (named := parse_unfreeze(model, settings.unfreeze_at, settings.epochs or 1))
    if (rest := starts.pop("all", None)) is not None:
        later = [name for name in model.stages() if name not in named]
        starts |= {name: min(rest, starts.get(name, rest)) for name in later}
    return Strategy(model, starts, strategy.wanted, "batch" if settings.bn == "reestimate" else settings.bn)


def parse_unfreeze(model: Any, words: Sequence[str], epochs: int) -> dict[str, int]:
    """Stage, or "all" that are left, -> epochs that are over before it is trained, from "3:layer3" or "6:all".

    Raises UsageError for a word of another form, an unknown stage, and an epoch that is not to come.
    """
    stages = list(model.stages())
    starts: dict[str, int] = {}
    for word in words:
        number, _, name = word.partition(":")
        if not number.isdigit() or not name:
            raise UsageError(f"--unfreeze-at takes EPOCHS:STAGE such as 3:layer3, got {word!r}", code="usage.value")
        if name not in (*stages, "all"):
            near = difflib.get_close_matches(name, [*stages, "all"], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"--unfreeze-at {word}: no stage {name!r}; the model has {', '.join(stages)}{hint}",
                             code="usage.unknown")  # fmt: skip
        if int(number) >= epochs:
            raise UsageError(f"--unfreeze-at {word}: after {number} of {epochs} epochs the training is over",
                             code="usage.conflict")  # fmt: skip
        starts[name] = int(number)
    return starts
