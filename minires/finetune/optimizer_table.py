"""What --opt may name, and what each of them brings along: rates and weight decay of its own, flags, and memory.

The rates were tried on small pictures with the built-in ResNet-20; another task may want others (lr-find).
Left out of minires.optim: ASGD, whose average --model-ema makes with any optimizer, and Rprop and LBFGS, which are for
steps of all pictures together. SAM goes around any of these: --sam.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from minires.finetune.embedding_settings import EMBEDDING_LOSSES
from minires.finetune.freezing import ALL_BUT_HEAD

if TYPE_CHECKING:
    from minires.finetune.settings import Settings


@dataclass(frozen=True)
class Usual:
    """finetune, train: learning rates. decay: weight decay. copies: arrays of a weight's size that it keeps of each.

    takes: the settings that are its own, beside lr and weight decay.
    """

    finetune: float
    train: float
    decay: float
    copies: int
    takes: tuple[str, ...] = ()


ADAM_LIKE = ("opt_betas", "opt_eps")
USUAL = {
    "sgd": Usual(1e-2, 5e-2, 5e-4, 1, ("momentum",)),
    "adam": Usual(1e-3, 3e-3, 0.0, 2, ADAM_LIKE),
    "adamw": Usual(1e-3, 3e-3, 0.05, 2, ADAM_LIKE),
    "nadam": Usual(1e-3, 3e-3, 0.05, 2, ADAM_LIKE),
    "radam": Usual(2e-3, 5e-3, 0.05, 2, ADAM_LIKE),
    "adamax": Usual(5e-3, 6e-3, 0.0, 2, ADAM_LIKE),
    "rmsprop": Usual(3e-4, 1e-3, 0.0, 2, ("momentum", "opt_eps")),
    "adagrad": Usual(1e-2, 1e-2, 0.0, 1, ("opt_eps",)),
    "adadelta": Usual(1.0, 1.0, 0.0, 2, ("opt_eps",)),
    "lion": Usual(3e-4, 5e-4, 0.2, 1, ("opt_betas",)),
    "lamb": Usual(5e-3, 1e-2, 0.02, 2, ADAM_LIKE),
    "lars": Usual(5.0, 6.0, 5e-4, 1, ("momentum", "opt_eps")),
}


# A strategy's rate as a multiple of its optimizer's: few parameters bear, and need, a larger one. Tried with AdamW on
# digits and drawn photographs, 1 to 30 times. The steps of those left out do not grow with the gradient's scale.
OF_STRATEGY = {"head": 10, "bitfit": 10, "bn": 10, "ssf": 10, "lora": 3, "adapter": 3}
WITHOUT_PROBE = ("plateau", "onecycle")  # schedules that go their own way
AS_THEY_ARE = ("lamb", "lars", "adadelta")
OF_HIDDEN_LAYERS = 3  # at the most, where the head is more than one linear layer


def rate_factor(strategy: str, opt: str, head: str | None) -> int:
    """How many times the rate of full fine-tuning a strategy takes with an optimizer and a head."""
    if opt in AS_THEY_ARE:
        return 1
    factor = OF_STRATEGY.get(strategy, 1)
    return factor if head in (None, "linear") else min(factor, OF_HIDDEN_LAYERS)


def choose_rates(settings: "Settings", recipe: str) -> None:
    """The rate that was not given; and of lp-ft that of the head alone, for schedules that know epochs.

    The factors are for a new head on features that stay: not with --from, --unfreeze-at, or losses of embeddings.
    """
    opt, way = settings.opt or "adamw", "head" if settings.freeze in ALL_BUT_HEAD else settings.strategy
    usual = getattr(USUAL[opt], recipe)
    tried = not (settings.from_run or settings.unfreeze_at or settings.loss in EMBEDDING_LOSSES)
    settings.lr = usual * (rate_factor(way, opt, settings.head) if tried else 1)
    if way == "lp-ft" and tried and settings.probe_lr is None and settings.sched not in WITHOUT_PROBE:
        settings.probe_lr = usual * rate_factor("head", opt, settings.head)


def kin(setting: str) -> list[str]:
    """The optimizers that take a setting."""
    return [name for name, usual in USUAL.items() if setting in usual.takes]
