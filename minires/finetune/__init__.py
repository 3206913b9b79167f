"""Floor 6: a trained model made to do a new job.

settings    everything that can be set, in one table
recipe, job, fitting   the whole job: finetune(...), train(...)
heads       new last layers                         freezing    which weights and statistics stay
strategies  what is trained, from when, how fast    adapters    LoRA, SSF, and deltas on the disk
tta         several views of a picture              stochastic_depth   blocks left out at random
pictures    data sets from what --data names        start       the model that a job begins with
optimizers  optimizer and schedule                  targets     numbers as labels
loading     a trained model from a file or folder   inference   predict, evaluate
evaluation  a model on a split of its run, or of other data
reporting   report.html and review.csv of a run     review      what somebody decided about single pictures
lr_find, search, folds   which rate, which settings, and how sure: several trainings
continual   a run that begins from a finished one: growing, rehearsal, distillation, old_task
batch_size  batches that fit into the memory        tensorboard   figures for TensorBoard
"""

from minires.finetune.evaluation import EvaluationReport, evaluate_model
from minires.finetune.freezing import freeze, set_batch_norm, unfreeze
from minires.finetune.heads import build_head, replace_head
from minires.finetune.inference import Prediction, predict
from minires.finetune.loading import LoadedModel, load_model
from minires.finetune.recipe import finetune, train
from minires.finetune.result import Result
from minires.finetune.settings import Settings

__all__ = [
    "EvaluationReport", "LoadedModel", "Prediction", "Result", "Settings", "build_head", "evaluate_model", "finetune",
    "freeze", "load_model", "predict", "replace_head", "set_batch_norm", "train", "unfreeze",
]  # fmt: skip
