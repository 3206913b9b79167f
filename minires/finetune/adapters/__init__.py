"""Adapters: a few new parameters beside frozen ones, merged into them exactly in the end; and deltas on the disk.

base     what all adapters share: put in, merge, unmerge, take out
lora     low-rank changes of weights              ssf     scale and shift after every norm
parallel   1x1 convolutions beside larger ones
delta    what a run has changed, as a small file  report  trained against all parameters
"""

from minires.finetune.adapters.base import adapters_of, merge, remove, unmerge
from minires.finetune.adapters.delta import Base, apply_delta, save_delta
from minires.finetune.adapters.lora import add_lora, lora
from minires.finetune.adapters.parallel import add_parallel, parallel
from minires.finetune.adapters.report import parameter_report
from minires.finetune.adapters.ssf import add_ssf, ssf

__all__ = [
    "Base", "adapters_of", "add_lora", "add_parallel", "add_ssf", "apply_delta", "lora", "merge", "parallel",
    "parameter_report", "remove", "save_delta", "ssf", "unmerge",
]  # fmt: skip
