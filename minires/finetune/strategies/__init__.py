"""Strategies: which parameters a run trains, from which epoch on, and how fast.

    plan       Strategy and its callback: `requires_grad` as the epoch wants it
    staged     full, head, last, lp_ft, gradual: whole stages, at once or one after the other
    parts      bitfit, batch_norm_only: a few parameters of every layer
    rates      parameter groups: discriminative learning rates by depth, decay where it belongs
    l2_sp      a pull towards the pretrained weights in place of zero
    choosing   from the settings of a job to its strategy

Adapters, which add parameters, are strategies too: lora and ssf in minires/finetune/adapters.
"""

from minires.finetune.strategies.l2_sp import PullToStart
from minires.finetune.strategies.parts import batch_norm_only, bitfit
from minires.finetune.strategies.plan import Strategy, Unfreezing
from minires.finetune.strategies.rates import parameter_groups
from minires.finetune.strategies.staged import full, gradual, head, last, lp_ft

__all__ = [
    "PullToStart", "Strategy", "Unfreezing", "batch_norm_only", "bitfit", "full", "gradual", "head", "last",
    "lp_ft", "parameter_groups",
]  # fmt: skip
