"""What --opt may name, and what each of them brings along: rates and weight decay of its own, flags, and memory.

The rates were tried on small pictures with the built-in ResNet-20; another task may want others (lr-find).
Left out of minires.optim: ASGD, whose average --model-ema makes with any optimizer, and Rprop, which is for steps of
all pictures together. SAM goes around any of these: --sam.
"""

from dataclasses import dataclass


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


def kin(setting: str) -> list[str]:
    """The optimizers that take a setting."""
    return [name for name, usual in USUAL.items() if setting in usual.takes]
