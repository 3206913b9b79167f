"""The next batch on its way to the GPU while the present one is computed.

A copy takes a GPU's copy engine and leaves its processors free, if it comes from pinned memory and is in another stream
than the work. Three things must hold then:

1. The batch is computed only when it is there: the present stream waits for an event behind the copy.
2. The pinned memory is not filled anew before it is copied: `backend.move` keeps it until then.
3. The batch's memory on the GPU belongs to the copying stream; when the batch is let go of, the next copy would be
   given it, while the batch may yet be computed: `Tensor.record_stream` keeps it until then.

    for images, labels in mr.data.Prefetcher(loader, "cuda"):      # loader: DataLoader(..., pin_memory=True)
        loss = criterion(model(images), labels)

Bytes are a quarter of what float32 numbers are: with `normalise` pictures come as uint8 (the transform PILToTensor) and
become numbers behind the copy, in the same stream.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minires import backend, cuda
from minires.data.collate import each_tensor
from minires.data.transforms.pixels import normalize_bytes
from minires.tensor import Tensor


class Prefetcher:
    """Iterating gives the batches of a loader with their tensors on `device`, one batch copied ahead on a GPU.

    batches: a DataLoader, or any iterable of tensors, tuples, lists and dictionaries of them. While a batch is computed
    the next one takes memory on the GPU, too. What the loader raises is raised when it is that batch's turn.
    normalise=(mean, std), one number a channel each: tensors of bytes (N, C, H, W) become (x / 255 - mean) / std in
    float32, what ToTensor and Normalize would have made of them; ValueError for a batch without any.
    """

    def __init__(
        self, batches: Iterable[Any], device: Any, normalise: tuple[Sequence[float], Sequence[float]] | None = None
    ) -> None:  # fmt: skip
        self.batches, self.device, self.normalise = batches, backend.resolved(device), normalise
        self._state: Any = None

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        if self.device == backend.cpu:
            return (self._normalised(each_tensor(batch, lambda tensor: tensor.cpu())) for batch in self.batches)
        return self._ahead()

    def state_dict(self) -> Any:
        """The loader's, as of the batch that was handed out last, not of the one that is ahead."""
        return self.batches.state_dict() if self._state is None else self._state  # type: ignore[attr-defined]

    def _ahead(self) -> Iterator[Any]:
        copying = cuda.Stream(self.device)
        source = iter(self.batches)
        with contextlib.ExitStack() as at_the_end:
            at_the_end.callback(getattr(source, "close", lambda: None))
            ahead = self._begin(source, copying)
            while ahead is not None:
                batch, self._state, error = ahead
                if error is not None:
                    raise error
                self._hand_over(batch, copying)
                ahead = self._begin(source, copying)
                yield batch

    def _begin(self, source: Iterator[Any], copying: Any) -> tuple[Any, Any, Exception | None] | None:
        """The next batch, whose copy has been begun, and the loader's state behind it, or what it raised; or None."""
        try:
            batch = next(source)
            with cuda.stream(copying):
                moved = self._normalised(each_tensor(batch, lambda t: t.to(self.device, non_blocking=True)))
        except StopIteration:
            return None
        except Exception as error:  # raised when it is this batch's turn
            return None, self._state, error
        state = getattr(self.batches, "state_dict", None)
        return moved, None if state is None else state(), None

    def _normalised(self, batch: Any) -> Any:
        if self.normalise is None:
            return batch
        mean, std = self.normalise
        changed = []

        def numbers(tensor: Tensor) -> Tensor:
            if tensor.dtype != np.uint8 or tensor.ndim != 4:
                return tensor
            changed.append(tensor.shape)
            return normalize_bytes(tensor, mean, std)

        batch = each_tensor(batch, numbers)
        if not changed:
            raise ValueError("normalise is for batches with a uint8 tensor of shape (N, C, H, W), which PILToTensor "
                             "makes; this batch has none")  # fmt: skip
        return batch

    def _hand_over(self, batch: Any, copying: Any) -> None:
        """From here on the batch is the present stream's, and what comes in it waits for the copy."""
        computing = cuda.current_stream(self.device)
        computing.wait_stream(copying)

        def used(tensor: Tensor) -> Tensor:
            tensor.record_stream(computing)
            return tensor

        each_tensor(batch, used)
