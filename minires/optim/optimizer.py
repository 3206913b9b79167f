"""Optimizer: parameters in groups, a state for each parameter, and the loop over them that all optimizers share."""

import copy
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from minires import observe
from minires.autograd import enable_grad, no_grad
from minires.backend import Array, array_module, device_of, is_capturing, move, on_device_of
from minires.tensor import HookHandle, Tensor


class Optimizer:
    """Base class: an optimizer defines `update(parameter, gradient, group, state)`.

    params: tensors, (name, tensor) pairs, or dictionaries {"params": [...], "lr": ..., ...}, each a group with settings
    of its own. Raises ValueError for no parameters or one that is in two groups, TypeError for what is no tensor.
    """

    steps_seen = 0  # for the schedules, which warn when they are stepped before the optimizer
    capturable = False  # whether a CUDA graph may hold a step; a group's setting of this name goes before
    folds = False  # whether the kernels of the update multiply `gradient_factor` in, on a GPU
    gradient_factor = 1.0  # by what this step multiplies the gradients: see `step_times`

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.step_pre_hooks: dict[int, Any] = {}
        self.step_post_hooks: dict[int, Any] = {}
        if isinstance(params, Tensor):
            raise TypeError("params argument given to the optimizer should be an iterable of Tensors or dicts, "
                            "but got a Tensor")  # fmt: skip
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def check_group(self, group: dict[str, Any]) -> None:
        """Raise ValueError for a setting out of range; optimizers define it."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group {"params": [...], settings...}; settings left out are the optimizer's defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError("optimizer parameters need to be in an ordered collection, a set is not: use a list")
        entries = [params] if isinstance(params, Tensor) else list(params)
        names = [entry[0] for entry in entries if isinstance(entry, tuple)]
        tensors = [entry[1] if isinstance(entry, tuple) else entry for entry in entries]
        if names and len(names) != len(tensors):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(tensor)}")
            if not tensor.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        unknown = sorted(set(param_group) - set(self.defaults) - {"params", "param_names", "name", "initial_lr"})
        if unknown:
            raise ValueError(f"{type(self).__name__} has no setting {unknown[0]!r}: {sorted(self.defaults)}")
        group = {**param_group, "params": tensors, **({"param_names": names} if names else {})}
        for name, default in self.defaults.items():
            group.setdefault(name, default)
            if isinstance(group[name], Tensor):  # a rate in a tensor, which PyTorch takes for its graphs
                group[name] = group[name].item()
        self.check_group(group)
        if len(set(tensors)) != len(tensors):
            warnings.warn("optimizer contains a parameter group with duplicate parameters", stacklevel=3)
        if not {tensor for other in self.param_groups for tensor in other["params"]}.isdisjoint(tensors):
            raise ValueError("some parameters appear in more than one parameter group")
        if any(("param_names" in other) != bool(names) for other in self.param_groups):
            raise ValueError("all optimizer param groups should be with/without names")
        self.param_groups.append(group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. `closure` computes the loss anew and returns it; so does step."""
        self.steps_seen += 1
        loss = None
        self._call(self.step_pre_hooks, closure)
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            observe.call("step", type(self).__name__, self._update_all)
        self._call(self.step_post_hooks, closure)
        return loss

    def can_fold(self) -> bool:
        """Whether the update multiplies the gradients (`step_times`): all on a GPU, and no hook sees them before."""
        ready = with_gradients(self)
        return (self.folds and type(self).step is Optimizer.step and not self.step_pre_hooks
                and all(parameter.is_cuda for parameter in ready))  # fmt: skip

    def step_times(self, factor: float, **settings: Any) -> Any:
        """Multiply the gradients by `factor`, then `step(**settings)`; in the update's own launch where `can_fold`."""
        if factor == 1 or not self.can_fold():
            multiply_gradients(with_gradients(self), factor)
            return self.step(**settings)
        self.gradient_factor = factor
        try:
            return self.step(**settings)
        finally:
            self.gradient_factor = 1.0

    def _call(self, hooks: dict[int, Any], closure: Callable[[], Any] | None) -> None:
        for hook in list(hooks.values()):
            hook(self, () if closure is None else (closure,), {})

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(optimizer, args, kwargs)` before each step. Nothing that it returns is used."""
        return HookHandle(self.step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return HookHandle(self.step_post_hooks, hook)

    def _update_all(self) -> None:
        capturing = is_capturing()
        if capturing and not all(group.get("capturable", self.capturable) for group in self.param_groups):
            raise RuntimeError(f"Attempting CUDA graph capture of step() for an instance of {type(self).__name__} but "
                               "param_groups' capturable is False: Adam and AdamW take capturable=True, SGD needs "
                               "none, other optimizers step outside of the graph")  # fmt: skip
        for group in self.param_groups:
            ready = [parameter for parameter in group["params"] if parameter.grad is not None]
            left = self.update_together(ready, group) if any(p.is_cuda for p in ready) else ready
            if capturing and left:
                raise RuntimeError(f"{type(self).__name__}: a CUDA graph cannot hold the step of a parameter of shape "
                                   f"{left[0].shape} and type {left[0].dtype} on {left[0].device}: it must be dense "
                                   "float32 on a GPU and have made a step before the capture")  # fmt: skip
            multiply_gradients(left, self.gradient_factor)
            for parameter in left:
                if parameter.grad is not None:
                    with on_device_of(parameter.array):
                        self.update(parameter, parameter.grad, group, self.state[parameter])
            for parameter in ready:
                parameter.bump_version()
                if self.gradient_factor != 1 and parameter.grad is not None:
                    parameter.grad.bump_version()

    def update_together(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Update parameters on a GPU in one launch, where the optimizer has a kernel for that; those that are left."""
        return parameters

    def update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        """Change `parameter.array` and `state` by one step."""
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or fill them with 0."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = None if set_to_none else parameter.grad.detach().zero_()

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number of the parameter: its state}, "param_groups": [settings, "params": numbers]}, as PyTorch.

        Parameters are numbered through all groups. Tensors share memory with the optimizer.
        """
        numbers: dict[Tensor, int] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers.setdefault(parameter, len(numbers))
        groups = [{**group, "params": [numbers[parameter] for parameter in group["params"]]}
                  for group in self.param_groups]  # fmt: skip
        state = {numbers[parameter]: dict(entries) for parameter, entries in self.state.items() if entries}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a copy of a state that `state_dict` returned: settings of the groups and state of the parameters.

        Tensors may be NumPy arrays; they are converted to their parameter's type, device and memory order. Raises
        ValueError, and changes nothing, for other numbers of groups or parameters, and for an unfitting shape.
        """
        groups = copy.deepcopy(state_dict["param_groups"])
        if len(groups) != len(self.param_groups):
            raise ValueError(f"loaded state dict has a different number of parameter groups: {len(groups)}, "
                             f"the optimizer has {len(self.param_groups)}")  # fmt: skip
        parameters: dict[int, Tensor] = {}
        for position, (own, loaded) in enumerate(zip(self.param_groups, groups, strict=True)):
            if len(own["params"]) != len(loaded["params"]):
                raise ValueError("loaded state dict contains a parameter group that doesn't match the size of "
                                 f"optimizer's group: group {position} has {len(loaded['params'])} parameters, "
                                 f"the optimizer's {len(own['params'])}")  # fmt: skip
            parameters.update(zip(loaded["params"], own["params"], strict=True))
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, entries in state_dict["state"].items():
            if int(number) not in parameters:
                raise ValueError(f"loaded state dict has a state for parameter {number}, which is in no group")
            parameter = parameters[int(number)]
            state[parameter] = {name: _fitted(value, parameter, f"{name} of parameter {number}", name == "step")
                                for name, value in entries.items()}  # fmt: skip
        for own, loaded in zip(self.param_groups, groups, strict=True):
            names = {"param_names": own["param_names"]} if "param_names" in own else {}
            parameters_of_group, missing = own["params"], {k: v for k, v in self.defaults.items() if k not in loaded}
            own.clear()
            own.update({**loaded, **missing, **names, "params": parameters_of_group})
        self.state = state

    def __repr__(self) -> str:
        lines = []
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"


def with_gradients(optimizer: Optimizer) -> list[Tensor]:
    """The parameters of all groups that have a gradient."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def multiply_gradients(parameters: Iterable[Tensor], factor: float) -> None:
    """Multiply the gradients of these parameters, which have some, in place."""
    for parameter in parameters if factor != 1 else ():
        gradient = parameter.grad
        assert gradient is not None
        with on_device_of(gradient.array):
            array = gradient.array
            array *= array.dtype.type(factor)
        gradient.bump_version()


def _fitted(value: Any, parameter: Tensor, name: str, is_count: bool) -> Any:
    """A copy of one entry of a loaded state that fits its parameter; `step` is a number without axes."""
    array = value.array if isinstance(value, Tensor) else value
    if not hasattr(array, "dtype"):
        return copy.deepcopy(value)
    if is_count:
        return int(array)
    if array.shape == () != parameter.shape:  # a number, which PyTorch keeps in a tensor
        return float(array)
    if array.shape != parameter.shape:
        raise ValueError(f"{name} has shape {array.shape}, the parameter {parameter.shape}")
    with on_device_of(parameter.array):
        fitted = array_module(parameter.array).empty_like(parameter.array)
        fitted[...] = move(array_module(array).asarray(array), device_of(parameter.array))
    return Tensor(fitted)


def kept(state: dict[str, Any], name: str, parameter: Tensor, start: float = 0.0) -> Array:
    """The array that the state holds under this name: at first of the parameter's shape, filled with `start`."""
    if name not in state:
        state[name] = Tensor(array_module(parameter.array).full_like(parameter.array, start))
    return state[name].array


def signed_and_decayed(parameter: Tensor, gradient: Tensor, group: dict[str, Any], decay: bool = True) -> Array:
    """The gradient, negated for `maximize`, plus weight_decay * parameter if `decay`: an array that may be shared."""
    g = -gradient.array if group["maximize"] else gradient.array
    return g + group["weight_decay"] * parameter.array if decay and group["weight_decay"] != 0 else g


def check_betas(betas: Any) -> None:
    """Raise ValueError for a share that is not at least 0 and below 1."""
    for index, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {index}: {beta}")


def check_at_least_zero(group: dict[str, Any], **names: str) -> None:
    """Raise ValueError for a setting below 0 (or NaN). names: setting -> how PyTorch's message calls it."""
    for setting, name in names.items():
        if not group[setting] >= 0.0:
            raise ValueError(f"Invalid {name}: {group[setting]}")


def refuse(optimizer: str, **settings: Any) -> None:
    """Raise NotImplementedError naming the first of PyTorch's settings that is asked for and not supported."""
    for name, value in settings.items():
        if value:
            raise NotImplementedError(f"{optimizer}: {name}={value} is not supported")
