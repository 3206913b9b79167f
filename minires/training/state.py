"""What a Trainer's next step depends on, and nothing else: taken down, and put back.

model        weights and buffers                       optimizer, scheduler   their own states
epoch, step, position, last_lr, batches                where the run is
sums         figures of the running epoch so far       history                rows of the finished epochs
callbacks    best value, patience, best weights ...    stop_reason, seed
amp          in mixed precision the scale of the losses
about        not for the next step: what others need to use the model (its config and metadata), where it knows that

There is no generator's state in it: draws have addresses (minires/random.py), which follow from seed and position.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from minires.training.weights import restore_weights

if TYPE_CHECKING:
    from minires.training.trainer import Trainer

PLACE = ("epoch", "step", "position", "last_lr", "stop_reason")


def collect(trainer: "Trainer") -> dict[str, Any]:
    """The state of a trainer between two steps."""
    found: dict[str, Any] = {name: getattr(trainer, name) for name in PLACE}
    found["seed"], found["batches"] = trainer.seed, trainer.batches
    found["model"] = {name: tensor.array for name, tensor in named_tensors(trainer.model)}
    found["optimizer"] = trainer.optimizer.state_dict()
    found["scheduler"] = None if trainer.scheduler is None else trainer.scheduler.state_dict()
    found["sums"], found["history"] = trainer.sums.state_dict(), trainer.history.state_dict()
    found["callbacks"] = {name: own for name, callback in named_callbacks(trainer) if (own := callback.state_dict())}
    amp = trainer.precision.state_dict()
    return {**found, **({"amp": amp} if amp else {}), **about(trainer.model)}


def about(model: Any) -> dict[str, Any]:
    """{"about": config and metadata} of a model that has metadata (preprocessing, classes); else nothing."""
    metadata = getattr(model, "metadata", None)
    return {"about": {"config": model.config, **metadata}} if metadata else {}


def restore(trainer: "Trainer", found: dict[str, Any]) -> None:
    """Put a state back. ValueError naming what does not fit; then nothing but perhaps the optimizer has changed."""
    callbacks = dict(named_callbacks(trainer))
    check(trainer, found, callbacks)
    trainer.optimizer.load_state_dict(found["optimizer"])
    if trainer.scheduler is not None:
        trainer.scheduler.load_state_dict(found["scheduler"])
    restore_weights(trainer.model, found["model"])
    trainer.sums.load_state_dict(found["sums"])
    trainer.history.load_state_dict(found["history"])
    trainer.precision.load_state_dict(found.get("amp", {}))
    for name, own in found["callbacks"].items():
        callbacks[name].load_state_dict(own)
    for name in PLACE:
        setattr(trainer, name, found[name])
    trainer.batches_of_state = found["batches"]
    trainer.consistent = True


def check(trainer: "Trainer", found: dict[str, Any], callbacks: dict[str, Any]) -> None:
    """Raise ValueError if the state belongs to another model, seed, schedule, or other metrics and callbacks."""
    own = {name: tuple(tensor.shape) for name, tensor in named_tensors(trainer.model)}
    given = {name: np.shape(array) for name, array in found["model"].items()}
    for name in sorted({*own, *given}):
        if own.get(name) != given.get(name):
            raise ValueError(f"the state is of another model: {name} is {shown(given.get(name))} in the state and "
                             f"{shown(own.get(name))} in the model")  # fmt: skip
    if found["seed"] != trainer.seed:
        raise ValueError(f"the state was made with seed={found['seed']}, this trainer has seed={trainer.seed}")
    if (found["scheduler"] is None) != (trainer.scheduler is None):
        raise ValueError(f"the state was made {'without' if found['scheduler'] is None else 'with'} a scheduler")
    lost = [name for name in found["callbacks"] if name not in callbacks]
    if lost:
        raise ValueError(f"the state holds that of the callback {lost[0]}, which this trainer does not have")
    if list(found["sums"]["totals"]) != trainer.sums.names():
        raise ValueError(f"the state has the figures {', '.join(found['sums']['totals'])}, this trainer "
                         f"{', '.join(trainer.sums.names())}")  # fmt: skip


def shown(shape: tuple[int, ...] | None) -> str:
    """A shape for messages."""
    return "missing" if shape is None else f"of the shape {shape}"


def named_tensors(model: Any) -> list[tuple[str, Any]]:
    """All parameters and buffers, also those that a state dict leaves out."""
    return [*model.named_parameters(), *model.named_buffers()]


def named_callbacks(trainer: "Trainer") -> list[tuple[str, Any]]:
    """Callbacks by the names of their classes; further ones of a class as EarlyStopping-2, ..."""
    named: dict[str, Any] = {}
    for callback in trainer.events.callbacks:
        name, number = type(callback).__name__, 2
        while name in named:
            name, number = f"{type(callback).__name__}-{number}", number + 1
        named[name] = callback
    return list(named.items())
