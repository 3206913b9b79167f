"""Loading a state dict: everything is checked before anything is changed, and all that is wrong is said at once."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from minires.backend import Array, array_module, device_of, is_number, move, on_device_of
from minires.nn.parameter import Parameter
from minires.tensor import Tensor

if TYPE_CHECKING:
    from minires.nn.module import Module


class LoadReport(NamedTuple):
    """What a state dict and a module did not share (empty lists where they matched)."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"LoadReport(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class Slot(NamedTuple):
    """The place of one entry of a state dict: an attribute of a module."""

    module: "Module"
    name: str
    tensor: Tensor
    optional: bool


def slots(module: "Module", prefix: str = "") -> dict[str, Slot]:
    """The places of all entries of the module's state dict, by path."""
    found = {}
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None and name not in module._non_persistent:
            found[prefix + name] = Slot(module, name, tensor, name in module.optional_state)
    for name, child in module._modules.items():
        if child is not None:
            found.update(slots(child, f"{prefix}{name}."))
    return found


def load_state(module: "Module", state: Any, strict: bool, assign: bool) -> LoadReport:
    """See Module.load_state_dict."""
    if not isinstance(state, Mapping):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(state)}.")
    places = slots(module)
    state, said = _adapted(module, state, strict)
    missing = [key for key, slot in places.items() if key not in state and not slot.optional]
    unexpected = [key for key in state if key not in places]
    arrays, faults = _matching_arrays(places, state)
    if strict:
        lists = (("Missing", missing), ("Unexpected", unexpected))
        named = [f"{word} key(s) in state_dict: " + ", ".join(f'"{k}"' for k in keys) for word, keys in lists if keys]
        faults = named + faults
    faults = [*faults, *said]
    if faults:
        text = "\n\t".join(f"{fault}. " for fault in faults)
        raise RuntimeError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t{text}")
    for key, array in arrays.items():
        (_assign if assign else _copy)(places[key], array)
    return LoadReport(missing, unexpected)


def _adapted(module: "Module", state: Mapping[str, Any], strict: bool) -> tuple[dict[str, Any], list[str]]:
    """A copy of the state in which modules have changed old keys into theirs, by hooks or by `_load_from_state_dict`.

    And what they found wrong.
    """
    changed, metadata = dict(state), getattr(state, "_metadata", None) or {}
    errors: list[str] = []
    for path, child in list(module.named_modules()):
        prefix, own = f"{path}." if path else "", metadata.get(path, {})
        for hook in child.__dict__.get("_load_state_dict_pre_hooks", {}).values():
            hook(child, changed, prefix, own, strict, [], [], errors)
        child._load_from_state_dict(changed, prefix, own, strict, [], [], errors)
    return changed, errors


def _matching_arrays(places: dict[str, Slot], state: Mapping[str, Any]) -> tuple[dict[str, Array], list[str]]:
    """The arrays that can be loaded, by path, and what is wrong with the others."""
    arrays, faults = {}, []
    for key, slot in places.items():
        if key not in state:
            continue
        value = state[key]
        array = value.array if isinstance(value, Tensor) else value
        try:
            library = array_module(array)
        except TypeError:
            faults.append(f'the value of "{key}" is neither a Tensor nor an array but {type(value).__name__}')
            continue
        array = library.asarray(array)  # a NumPy number becomes an array without axes
        if not is_number(array.dtype):
            faults.append(f'the value of "{key}" holds {array.dtype}, not numbers')
        elif array.shape == (1,) and slot.tensor.shape == ():
            arrays[key] = array.reshape(())
        elif array.shape != slot.tensor.shape:
            faults.append(f"size mismatch for {key}: copying a param with shape {array.shape} from checkpoint, "
                          f"the shape in current model is {slot.tensor.shape}")  # fmt: skip
        else:
            arrays[key] = array
    return arrays, faults


def _copy(slot: Slot, array: Array) -> None:
    own = slot.tensor.array
    with on_device_of(own):
        array_module(own).copyto(own, move(array, device_of(own)), casting="unsafe")
    slot.tensor.bump_version()


def _assign(slot: Slot, array: Array) -> None:
    """Put the given array itself into the module; it keeps its type and memory order."""
    if isinstance(slot.tensor, Parameter):
        setattr(slot.module, slot.name, Parameter(array, slot.tensor.requires_grad))
    else:
        setattr(slot.module, slot.name, Tensor(array))
