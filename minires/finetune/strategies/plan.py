"""A strategy as a table: stage of the model -> the epoch from which it is trained, and which of its parameters are.

Everything follows from the number of the epoch, so that there is nothing to save: a run that is resumed asks the table
again. An optimizer holds all parameters that are ever trained, from the beginning; it leaves out those that have no
gradient yet.
"""

from collections.abc import Callable, Mapping
from typing import Any

from minires.errors import UsageError
from minires.finetune.freezing import HEAD, set_batch_norm, stage_modules
from minires.nn import Parameter
from minires.training import Callback, Trainer


def is_any(name: str) -> bool:
    """Every parameter is wanted."""
    return True


class Strategy:
    """What of `model` is trained, and from when.

    starts: stage -> number of epochs that are over when its training begins; a stage that is not there stays as it is.
    wanted: which parameters of the stages before the head, by path ("layer1.0.bn1.bias"); of the head all are trained.
    bn: the policy of batch norm (freezing.set_batch_norm), which is seen to again whenever a stage joins in.

    Making one switches the model to what epoch 0 wants. Raises UsageError for an unknown stage, and if nothing at all
    is trained in the first epoch.
    """

    def __init__(
        self, model: Any, starts: Mapping[str, int], wanted: Callable[[str], bool] = is_any, bn: str = "auto"
    ) -> None:
        self.model, self.starts, self.wanted, self.bn = model, dict(starts), wanted, bn
        paths = {id(parameter): path for path, parameter in model.named_parameters()}
        stages = stage_modules(model)
        unknown = [name for name in self.starts if name not in stages]
        if unknown:
            raise UsageError(f"no stage {unknown[0]!r}; the model has {', '.join(stages)}", code="usage.unknown")
        self.parameters: dict[str, list[Parameter]] = {}
        for name in stages:
            own = [parameter for module in stages[name] for parameter in module.parameters()]
            self.parameters[name] = [each for each in own if name == HEAD or wanted(paths[id(each)])]
        if not self.all_parameters():
            raise UsageError("all parameters are frozen: nothing is left to train", code="usage.conflict")
        if not any(self.parameters[name] for name in self.trained(0)):
            raise UsageError(f"nothing is trained in the first epoch: {self.describe()}", code="usage.conflict")
        self.apply(0)

    def trained(self, epoch: int) -> list[str]:
        """The stages that are trained after so many epochs, from input to output."""
        return [name for name in self.parameters if name in self.starts and self.starts[name] <= epoch]

    def all_parameters(self) -> list[Parameter]:
        """Every parameter that is trained at some time: what the optimizer is made for."""
        return [parameter for name in self.parameters if name in self.starts for parameter in self.parameters[name]]

    def start_of(self, parameter: Parameter) -> int:
        """The epoch from which a parameter is trained. KeyError if it never is."""
        starts = {id(each): start for name, start in self.starts.items() for each in self.parameters[name]}
        return starts[id(parameter)]

    def apply(self, epoch: int) -> None:
        """Gradients, and batch norm's statistics, as after so many epochs."""
        on = {id(parameter) for name in self.trained(epoch) for parameter in self.parameters[name]}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) in on)
            if id(parameter) not in on:
                parameter.grad = None
        set_batch_norm(self.model, self.bn)

    @property
    def last_start(self) -> int:
        """After so many epochs everything is trained that ever will be."""
        return max(self.starts.values())

    def describe(self) -> str:
        """For people: "head; from epoch 4: layer3; never: stem"."""
        groups: dict[int, list[str]] = {}
        for name in self.parameters:
            groups.setdefault(self.starts.get(name, -1), []).append(name)
        words = {start: f"from epoch {start + 1}: " if start > 0 else "" for start in groups}
        parts = [words[start] + ", ".join(groups[start]) for start in sorted(groups) if start >= 0]
        return "; ".join([*parts, *([f"never: {', '.join(groups[-1])}"] if -1 in groups else [])])

    def callback(self) -> "Unfreezing":
        """What brings the strategy into a Trainer."""
        return Unfreezing(self)


class Unfreezing(Callback):
    """Before every epoch, gradients are switched as the strategy wants them. There is nothing to save: see above."""

    order = -10

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def before_epoch(self, trainer: Trainer) -> None:
        self.strategy.apply(trainer.epoch)
        joined = [name for name, start in self.strategy.starts.items() if 0 < start == trainer.epoch]
        if joined and not trainer.position:
            trainer.say(f"from epoch {trainer.epoch + 1} on trained, too: {', '.join(joined)}")
