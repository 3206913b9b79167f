"""Which part of a training script's file is the weights, and under which names: one rule, in three tables.

1. A dictionary of tensors at the top is the weights. Else the first entry of PLAIN that is one, or that holds one in
   the same way (up to three levels down). Copies averaged over the training (EMA) are taken only when asked for: then
   the first entry of AVERAGED counts.
2. A whole pickled module is never constructed; its parameters and buffers lie in the pickle as plain data and are
   gathered from there.
3. PREFIXES that wrappers add are taken off, if every name has them; `_orig_mod.` wherever it stands.
4. Entries that hold no numbers are left out and listed.
"""

from collections.abc import Mapping
from typing import Any

from minires.errors import FileFormatError
from minires.io import files
from minires.io.numpy_values import NumpyArray
from minires.io.pickle_names import Placeholder
from minires.io.torch_values import TorchTensor

PLAIN = (
    "state_dict",  # timm, PyTorch's ImageNet example, Lightning, mmpretrain
    "model_state_dict",  # PyTorch's tutorial on saving
    "model",  # torchvision's references, DeiT, DINO
    "module",  # DeepSpeed
    "net", "network", "weights", "params",
)  # fmt: skip
AVERAGED = (
    "state_dict_ema",  # timm
    "model_ema",  # torchvision's references, DeiT
    "ema_state_dict", "model_ema_state_dict", "ema", "params_ema",
)  # fmt: skip
PREFIXES = (
    "module.",  # DataParallel, DistributedDataParallel, AveragedModel
    "_orig_mod.",  # torch.compile
)
LIGHTNING, LIGHTNING_PREFIX = "pytorch-lightning_version", "model."  # the module's usual attribute, in such files only
COUNTERS = ("n_averaged",)  # of AveragedModel: no weight, and without a prefix
_DEEPEST = 3


def find_weights(obj: Any, path: files.PathLike, ema: bool = False) -> tuple[dict[str, Any], list[str]]:
    """The weights in what a torch file holds: name -> TorchTensor or NumpyArray, and the names that were left out.

    FileFormatError, with the keys that are there, if there are none, or no averaged ones (`ema`).
    """
    names = AVERAGED if ema else PLAIN
    found = None
    if ema and isinstance(obj, Mapping):
        found = _first(obj, names, 0)
    elif not ema:
        found = _weights(obj, 0)
    if found is None:
        raise _none_found(obj, path, ema)
    numbers = {name: value for name, value in found.items() if isinstance(value, TorchTensor | NumpyArray)}
    left_out = [str(name) for name in found if name not in numbers and name not in COUNTERS]
    prefixes: tuple[str, ...] = PREFIXES
    if isinstance(obj, Mapping) and LIGHTNING in obj:
        prefixes += (LIGHTNING_PREFIX,)
    return strip_prefixes(numbers, prefixes), left_out


def strip_prefixes(state: Mapping[str, Any], prefixes: tuple[str, ...] = PREFIXES) -> dict[str, Any]:
    """`state` with shorter names: a prefix goes if all have it; several go one after the other."""
    state = {name.replace("_orig_mod.", ""): value for name, value in state.items() if name not in COUNTERS}
    while prefix := next((p for p in prefixes if state and all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _weights(value: Any, depth: int) -> dict[str, Any] | None:
    """The weights in a value, or None."""
    if isinstance(value, Placeholder):
        gathered: dict[str, Any] = {}
        _gather(value, "", gathered, 0)
        return gathered or None
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        return None
    inside = _first(value, PLAIN, depth)
    if inside is not None:
        return inside
    is_state = any(isinstance(entry, TorchTensor) for entry in value.values())
    return dict(value) if is_state and all(type(name) is str for name in value) else None


def _first(value: Mapping[Any, Any], names: tuple[str, ...], depth: int) -> dict[str, Any] | None:
    """The weights in the first of the named entries that has any."""
    found = (_weights(value[name], depth + 1) for name in names if isinstance(value.get(name), Mapping | Placeholder))
    return next((weights for weights in found if weights is not None), None)


def _gather(module: Any, prefix: str, gathered: dict[str, Any], depth: int) -> None:
    """The parameters and buffers of a pickled module, whose state is its __dict__, under their state-dict names."""
    state = module.state if isinstance(module, Placeholder) else None
    if not isinstance(state, Mapping) or depth > 50 or len(gathered) > 100_000:
        return
    hidden = state.get("_non_persistent_buffers_set", ())
    for kind in ("_parameters", "_buffers"):
        own = state.get(kind)
        for name, value in own.items() if isinstance(own, Mapping) else ():
            if isinstance(value, TorchTensor) and name not in hidden:
                gathered[f"{prefix}{name}"] = value
    children = state.get("_modules")
    for name, child in children.items() if isinstance(children, Mapping) else ():
        _gather(child, f"{prefix}{name}.", gathered, depth + 1)


def _none_found(obj: Any, path: files.PathLike, ema: bool) -> FileFormatError:
    what = f"a {type(obj).__name__}" if not isinstance(obj, Placeholder) else f"an object of the class {obj.name}"
    hint = None
    if isinstance(obj, Mapping):
        keys = [str(key)[:40] for key in list(obj)[:8]]
        what = f"a dictionary with the keys {', '.join(keys) or '(none)'}{', ...' if len(obj) > 8 else ''}"
        if not ema and any(name in obj for name in AVERAGED):
            hint = "it has averaged weights: load(path, ema=True)"
    wanted = "averaged weights (EMA)" if ema else "weights"
    return FileFormatError(path, None, f"no {wanted} in it: it holds {what}", hint=hint)
