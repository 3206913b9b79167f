"""Mixed precision in a Trainer: outputs and loss inside `amp.autocast`, and for float16 the loss scaled (GradScaler).

amp           computes                            a gradient that is not finite
None          in the parameters' own type         ends the training
"bfloat16"    products in bfloat16                ends the training: bfloat16 reaches as far as float32
"float16"     products in float16, loss scaled    skips the step and halves the scale, until that is below 1
"""

import contextlib
import math
from typing import Any

from minires.amp import GradScaler, autocast
from minires.optim import Optimizer

NAMES = {"float16": "float16", "fp16": "float16", "half": "float16", "bfloat16": "bfloat16", "bf16": "bfloat16"}


def dtype_name(amp: Any) -> str | None:
    """ "float16" or "bfloat16" of what `amp` may be: True (float16), a name or a dtype. None: no mixed precision.

    Raises ValueError for anything else.
    """
    if amp is None or amp is False:
        return None
    name = "float16" if amp is True else str(getattr(amp, "name", amp))
    if name not in NAMES:
        raise ValueError(f"amp is float16, bfloat16 or None, got {amp!r}")
    return NAMES[name]


class Precision:
    """What a Trainer's steps are computed in. `skipped`: steps left out because a scaled gradient was too large."""

    def __init__(self, amp: Any, device: Any) -> None:
        """RuntimeError for mixed precision on the CPU, or without bfloat16 (see `minires.bfloat16`)."""
        self.name, self.device = dtype_name(amp), device
        self.scaler = GradScaler(enabled=self.name == "float16")
        self.skipped = 0
        with self.computing():  # refuses what cannot be, before anything is trained
            pass

    def computing(self) -> contextlib.AbstractContextManager[Any]:
        """Within the block outputs and losses are computed in this precision."""
        return contextlib.nullcontext() if self.name is None else autocast(self.device.type, self.name)

    def scaled(self, loss: Any) -> Any:
        """The loss whose gradients are computed."""
        return self.scaler.scale(loss)

    def unscale(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale, if there is one."""
        self.scaler.unscale_(optimizer)

    def too_large(self, norm: float) -> bool:
        """Whether a gradient's norm is not finite because of the scale: the step is skipped, and no error."""
        return self.scaler.is_enabled() and not math.isfinite(norm) and self.scaler.get_scale() >= 1

    def step(self, optimizer: Optimizer, factor: float = 1.0) -> None:
        """A step with the gradients times `factor`, or none where they were too large; then the scale for the next."""
        if not self.scaler.is_enabled():
            optimizer.step_times(factor)
            return
        before = self.scaler.get_scale()
        self.scaler.step_times(optimizer, factor)
        self.scaler.update()
        if self.scaler.get_scale() < before:
            self.skipped += 1
            optimizer.steps_seen += 1  # for its schedule, which goes on

    def state_dict(self) -> dict[str, Any]:
        """{"dtype", "scaler", "skipped"}; empty without mixed precision."""
        if self.name is None:
            return {}
        return {"dtype": self.name, "scaler": self.scaler.state_dict(), "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the scale of a state in the same precision; of a state in another nothing is taken over."""
        if state and state["dtype"] == self.name:
            self.skipped = state["skipped"]
            if self.scaler.is_enabled():
                self.scaler.load_state_dict(state["scaler"])
