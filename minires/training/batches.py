"""Batches from any loader, from any place of an epoch, on the model's device."""

import contextlib
from collections.abc import Generator
from typing import Any

from minires.data import DataLoader, Prefetcher
from minires.tensor import Tensor


class Batches:
    """The batches of one epoch of `loader` from `position` on. `position` counts those that were handed out.

    device: where their tensors are put; on a GPU, while the batch before is computed. None: they stay.

    loader: a DataLoader, which goes to its place at once, or any iterable of batches that can be iterated again every
    epoch. There `set_epoch(epoch)` is called if it has one, and the first `position` batches are left out: it must give
    the same batches in the same order, or a resume inside an epoch is not exact.
    """

    def __init__(self, loader: Any, epoch: int, position: int = 0, device: Any = None) -> None:
        self.loader, self.epoch, self.position, self.device = loader, epoch, position, device

    def __iter__(self) -> Generator[Any, None, None]:
        ahead = self.device is not None and self.device.type == "cuda"
        numbered: Any = iter(Prefetcher(self._numbered(), self.device)) if ahead else self._numbered()
        with contextlib.closing(numbered):
            for self.position, batch in numbered:
                yield batch

    def _numbered(self) -> Generator[tuple[int, Any], None, None]:
        """The batches, each with how many have been handed out when it is."""
        jumps = isinstance(self.loader, DataLoader)
        if jumps:
            self.loader.load_state_dict({"epoch": self.epoch, "position": self.position})
        if hasattr(self.loader, "set_epoch"):
            self.loader.set_epoch(self.epoch)
        before = 0 if jumps else self.position
        batches = iter(self.loader)
        with contextlib.closing(batches) if hasattr(batches, "close") else contextlib.nullcontext():
            for number, batch in enumerate(batches):
                if number < before:
                    continue
                # a DataLoader may have left out a batch of unreadable pictures, which has a place, too
                yield (self.loader.state_dict()["position"] if jumps else number + 1), batch


def length(loader: Any) -> int | None:
    """Number of batches in an epoch, None if the loader does not know."""
    return len(loader) if hasattr(loader, "__len__") else None


def inputs_and_targets(batch: Any, device: Any) -> tuple[Tensor, Tensor]:
    """The two tensors of a batch (inputs, targets), on `device`. Arrays become tensors; pinned ones are not waited for.

    Raises TypeError for a batch of another kind, ValueError for different numbers of inputs and targets.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        kind = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, tuple | list) else type(batch).__name__
        raise TypeError(f"a batch is a pair (inputs, targets), got a {kind}")
    inputs, targets = (_tensor(part).to(device, non_blocking=True) for part in batch)
    if not inputs.ndim or not targets.ndim or len(inputs) != len(targets):
        raise ValueError(f"a batch needs as many targets as inputs, got the shapes {inputs.shape} and {targets.shape}")
    return inputs, targets


def only_inputs(batch: Any, device: Any) -> Tensor:
    """The inputs of a batch that may or may not have targets."""
    return _tensor(batch[0] if isinstance(batch, tuple | list) else batch).to(device, non_blocking=True)


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(value)
