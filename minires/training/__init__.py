"""Floor 6: the loop, and the care around it.

trainer      Trainer: fit, evaluate, predict          callbacks    events around the loop; EarlyStopping
checkpoints  files that a run goes on from            state        what is in them
metrics      figures averaged over samples            history      a row of them an epoch
progress     bars and lines                           diagnostics  where a NaN comes from
gradients    norm and clipping                        batches, budget, interrupts, weights   smaller things
"""

from minires.training.callbacks import Callback, EarlyStopping, Monitor
from minires.training.checkpoints import HistoryFile, ModelCheckpoint
from minires.training.diagnostics import NotFiniteError
from minires.training.history import History
from minires.training.metrics import Metric
from minires.training.progress import Progress
from minires.training.trainer import Trainer

__all__ = [
    "Callback", "EarlyStopping", "History", "HistoryFile", "Metric", "ModelCheckpoint", "Monitor", "NotFiniteError",
    "Progress", "Trainer",
]  # fmt: skip
