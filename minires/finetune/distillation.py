"""Distillation against forgetting: the model is held to what the earlier one says about its own classes.

    loss + w T^2 / N  sum_i sum_k<K  p_ik log(p_ik / q_ik)       p = softmax(t / T), q = softmax(x[:K] / T)

x (N, K') are the scores of the model, t (N, K) those that the frozen earlier model has for the same pictures, K its
number of classes. No old picture is needed: the new ones, seen through old eyes, tell what not to forget (Li and Hoiem
2016, "Learning without Forgetting", with T = 2). T^2 keeps the gradient's size whatever T is (Hinton et al. 2015). The
divergence differs from the paper's cross entropy by a constant, and is 0 as long as nothing is forgotten.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import minires.nn.functional as F
from minires.autograd import no_grad
from minires.tensor import Tensor

if TYPE_CHECKING:
    from minires.finetune.job import Job

TEMPERATURE = 2.0  # the paper's


class Distillation:
    """`loss_fn` plus the divergence from `teacher`, which sees the pictures that `model` has seen last in training.

    teacher: a model in eval mode; it is not trained. weight: w above; temperature: T.
    """

    def __init__(
        self, loss_fn: Callable[[Any, Any], Tensor], model: Any, teacher: Any, weight: float,
        temperature: float = TEMPERATURE,
    ) -> None:  # fmt: skip
        if not (weight > 0 and temperature > 0):
            raise ValueError(f"weight and temperature must be above 0, got {weight} and {temperature}")
        self.loss_fn, self.teacher, self.weight, self.temperature = loss_fn, teacher, weight, temperature
        self._inputs: Tensor | None = None
        model.register_forward_pre_hook(self._note)

    def _note(self, model: Any, arguments: tuple[Tensor, ...]) -> None:
        self._inputs = arguments[0] if model.training else None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self._inputs is None or len(self._inputs) != len(outputs):
            raise RuntimeError("distillation was called without the model's forward in training before it")
        with no_grad():
            wanted = F.log_softmax(self.teacher(self._inputs) / self.temperature, dim=1)
        self._inputs = None
        said = F.log_softmax(outputs[:, : wanted.shape[1]] / self.temperature, dim=1)
        away = (wanted.exp() * (wanted - said)).sum() / len(outputs)
        return self.loss_fn(outputs, targets) + away * (self.weight * self.temperature**2)


def with_distillation(job: "Job", loss_fn: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    """The training loss of a job with distillation, where its settings ask for it."""
    settings = job.settings
    if not settings.distill:
        return loss_fn
    assert job.old is not None  # setting_checks.py
    teacher = job.old.loaded.model.to(job.device)
    return Distillation(loss_fn, job.model, teacher, settings.distill, settings.distill_temperature)
