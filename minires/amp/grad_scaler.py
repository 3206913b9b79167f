"""GradScaler: the loss is multiplied, so that small gradients do not become 0 in float16; the gradients are divided.

Micikevicius et al. 2018, section 3.2. The scale grows by `growth_factor` after `growth_interval` steps without an
infinity or NaN among the gradients; at one, the step is skipped and the scale shrinks by `backoff_factor`.
"""

import enum
from typing import Any

from minires.backend import Array, array_module, float16, is_capturing, on_device_of
from minires.kernels.cuda.adapters import optim as on_gpu
from minires.optim import Optimizer
from minires.optim.optimizer import multiply_gradients, with_gradients
from minires.tensor import Tensor


class Stage(enum.Enum):
    """Where an optimizer stands between two calls of `update`."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class GradScaler:
    """torch.amp.GradScaler: scale(loss).backward(); step(optimizer); update(). Names and meanings are PyTorch's.

    `device` is accepted for the sake of the signature: gradients are found where they are, on the CPU too.
    enabled=False: losses pass unchanged, and `step` is the optimizer's own.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if enabled and growth_factor <= 1.0:
            raise ValueError("The growth factor must be > 1.0.")
        if enabled and not 0.0 < backoff_factor < 1.0:
            raise ValueError("The backoff factor must be between 0.0 and 1.0.")
        self.device, self._enabled, self._scale = device, enabled, float(init_scale)
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        self._stages: dict[int, Stage] = {}
        self._found: dict[int, bool] = {}  # of each optimizer since the last update: an infinity or NaN?

    def is_enabled(self) -> bool:
        """Whether this scaler does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """By what losses are multiplied; 1 if not enabled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """By what the scale grows."""
        return self._growth_factor

    def get_backoff_factor(self) -> float:
        """By what the scale is multiplied after a skipped step."""
        return self._backoff_factor

    def get_growth_interval(self) -> int:
        """After how many good steps the scale grows."""
        return self._growth_interval

    def set_growth_factor(self, new_factor: float) -> None:
        """Change by what the scale grows."""
        self._growth_factor = new_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Change by what the scale is multiplied after a skipped step."""
        self._backoff_factor = new_factor

    def set_growth_interval(self, new_interval: int) -> None:
        """Change after how many good steps the scale grows."""
        self._growth_interval = new_interval

    def scale(self, outputs: Any) -> Any:
        """A loss (or a list or tuple of them) times the scale; float16 losses come back as float32."""
        if not self._enabled:
            return outputs
        if is_capturing():
            raise RuntimeError("the scale comes from the CPU and would stay the same in a CUDA graph: use bfloat16, "
                               "which needs none, or call scale(...).backward() outside of it")  # fmt: skip
        if isinstance(outputs, list | tuple):
            return type(outputs)(self.scale(output) for output in outputs)
        if not isinstance(outputs, Tensor):
            raise ValueError(f"outputs must be a Tensor or an iterable of Tensors, got {type(outputs).__name__}")
        return (outputs.float() if outputs.dtype == float16 else outputs) * self._scale

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimizer by the scale, to clip them before `step`, which does it otherwise.

        RuntimeError for a second call before `update`, or one after `step`. ValueError for a float16 gradient: the
        parameters are to be float32.
        """
        if not self._enabled:
            return
        stage = self._stages.get(id(optimizer), Stage.READY)
        if stage is Stage.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if stage is Stage.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        self._look_at(optimizer)
        multiply_gradients(with_gradients(optimizer), 1 / self._scale)
        self._stages[id(optimizer)] = Stage.UNSCALED

    def _look_at(self, optimizer: Optimizer) -> None:
        """Note whether all gradients are finite. ValueError for one of float16."""
        gradients = [p.grad for p in with_gradients(optimizer) if p.grad is not None]
        if any(gradient.dtype == float16 for gradient in gradients):
            raise ValueError("Attempting to unscale FP16 gradients.")
        groups, rest = on_gpu.together(gradient.array for gradient in gradients)
        self._found[id(optimizer)] = not (all(map(_are_finite, groups)) and all(map(_is_finite, rest)))

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step() with unscaled gradients; nothing (and None), where one of them is not finite.

        RuntimeError for a second call before `update`, for a closure, and where the optimizer has no gradients.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or args:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        return self.step_times(optimizer, 1.0, **kwargs)

    def step_times(self, optimizer: Optimizer, factor: float, **kwargs: Any) -> Any:
        """`step` with the unscaled gradients times `factor`, in the update's own launch: see `Optimizer.step_times`."""
        if not self._enabled:
            return optimizer.step_times(factor, **kwargs)
        stage = self._stages.get(id(optimizer), Stage.READY)
        if stage is Stage.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if all(p.grad is None for group in optimizer.param_groups for p in group["params"]):
            raise RuntimeError("No inf checks were recorded for this optimizer: it has no gradients.")
        if stage is Stage.READY and optimizer.can_fold():
            self._look_at(optimizer)
            factor /= self._scale
        elif stage is Stage.READY:
            self.unscale_(optimizer)
        if self._found[id(optimizer)]:
            multiply_gradients(with_gradients(optimizer), factor)
            result = None
        else:
            result = optimizer.step_times(factor, **kwargs)
        self._stages[id(optimizer)] = Stage.STEPPED
        return result

    def update(self, new_scale: Any = None) -> None:
        """Set the scale for the next step: `new_scale`, or grown or shrunk by what the gradients were like.

        RuntimeError if no optimizer's gradients have been looked at since the last `update`.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._found:
            raise RuntimeError("No inf checks were recorded prior to update.")
        elif any(self._found.values()):
            self._scale, self._growth_tracker = self._scale * self._backoff_factor, 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                self._scale, self._growth_tracker = self._scale * self._growth_factor, 0
        self._stages.clear()
        self._found.clear()

    def state_dict(self) -> dict[str, Any]:
        """{"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}; {} if not enabled."""
        if not self._enabled:
            return {}
        return {"scale": self._scale, "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
                "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker}  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned. RuntimeError for an empty one, that of a scaler that was disabled."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("The source state dict is empty, possibly because it was saved from a disabled "
                               "instance of GradScaler.")  # fmt: skip
        self._scale, self._growth_tracker = float(state_dict["scale"]), int(state_dict["_growth_tracker"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = int(state_dict["growth_interval"])


def _are_finite(gradients: list[Array]) -> bool:
    """All elements of gradients on one GPU: two launches and one wait."""
    with on_device_of(gradients[0]):
        return not bool(on_gpu.measured(gradients)[1])


def _is_finite(gradient: Array) -> bool:
    with on_device_of(gradient):
        return bool(array_module(gradient).isfinite(gradient).all())
