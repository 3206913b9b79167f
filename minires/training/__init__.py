"""Floor 6: the loop, and the care around it.

trainer      Trainer: fit, evaluate, predict          callbacks    events around the loop; EarlyStopping
checkpoints  files that a run goes on from            state        what is in them
averaging    EMA and SWA of the weights                mixing       mixup and cutmix
statistics   batch norm's statistics made anew
metrics      figures averaged over samples            history      a row of them an epoch
class_metrics, pixel_metrics   figures of the confusion matrix
metrics_multi_label, _ordinal, _regression   figures of other tasks
progress     bars and lines                           diagnostics  where a NaN comes from
gradients    norm and clipping                        batches, budget, interrupts, weights   smaller things
"""

from minires.training.averaging import ExponentialAverage, StochasticAverage
from minires.training.callbacks import Callback, EarlyStopping, Monitor
from minires.training.checkpoints import HistoryFile, ModelCheckpoint
from minires.training.diagnostics import NotFiniteError
from minires.training.history import History
from minires.training.metrics import Metric
from minires.training.mixing import Mixing
from minires.training.progress import Progress
from minires.training.statistics import Reestimate, reestimate
from minires.training.trainer import Trainer

__all__ = [
    "Callback", "EarlyStopping", "ExponentialAverage", "History", "HistoryFile", "Metric", "Mixing", "ModelCheckpoint",
    "Monitor", "NotFiniteError", "Progress", "Reestimate", "StochasticAverage", "Trainer", "reestimate",
]  # fmt: skip
