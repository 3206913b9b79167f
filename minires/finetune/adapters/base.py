"""What all adapters share: a layer that becomes another kind of layer, whose weight is computed from the old one.

A Conv2d `conv` that gets an adapter becomes a LoRAConv2d in its place: the same object, with the same settings, hooks
and parameter names, and with a few parameters more. Reading `conv.weight` then gives the adapted weight, so that every
way of computing with it (forward, fused functions, export) sees the adapter; the state dict still holds the old one
under its old name. So a merged layer computes the very same numbers as an unmerged one.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from minires import nn
from minires.errors import UsageError
from minires.finetune.freezing import HEAD, stage_modules
from minires.tensor import Tensor


class Adapter(nn.Module):
    """Base class of the adapted layers. A kind of adapter defines `adapted` and `own`, the names of its parameters."""

    own: ClassVar[tuple[str, ...]] = ()
    adapts: ClassVar[tuple[str, ...]] = ("weight",)
    kind: ClassVar[type[nn.Module]]  # what the layer was before
    originals: dict[str, Any] | None  # while merged: copies of the old values

    def adapted(self, name: str, original: Any) -> Tensor:
        """What stands in for the parameter `name`, whose old value is `original`."""
        raise NotImplementedError

    def read(self, name: str) -> Any:
        """The adapted parameter; once it is merged, the parameter itself."""
        original = self._parameters[name]
        return original if self.originals is not None or original is None else self.adapted(name, original)

    @property
    def weight(self) -> Any:
        """The adapted weight."""
        return self.read("weight")


def become(layer: Any, kind: type[Adapter]) -> None:
    """Turn a layer into the adapted kind of itself. Its adapter's parameters are registered by the caller."""
    layer.__class__ = kind
    layer.originals = None


def layers_before_head(model: Any, kinds: Iterable[type], stages: Iterable[str] | None = None) -> Iterator[Any]:
    """The layers that are exactly of these kinds, in the named stages (default: all) but not in the head."""
    for name, modules in stage_modules(model).items():
        if name == HEAD or (stages is not None and name not in stages):
            continue
        for module in modules:
            yield from (layer for layer in module.modules() if type(layer) in set(kinds))


def adapters_of(model: Any) -> list[Adapter]:
    """The adapted layers of a model."""
    return [layer for layer in model.modules() if isinstance(layer, Adapter)]


def refuse_adapters(model: Any) -> None:
    """UsageError if the model has adapters already: on top of each other they would be of no use."""
    if adapters_of(model):
        raise UsageError("this model has adapters already: merge and remove them first", code="usage.conflict",
                         hint="minires.finetune.adapters.remove(model)")  # fmt: skip


def merge(model: Any) -> None:
    """Write the adapted values into the layers' parameters. What comes out of the model stays the same, bit for bit.

    The old values are kept, for `unmerge`. A merged model is for use, not for training: adapters get no gradients.
    """
    for layer in adapters_of(model):
        if layer.originals is not None:
            continue
        parameters: dict[str, Any] = layer._parameters
        adapted = {name: layer.read(name).detach().array for name in layer.adapts}
        layer.originals = {name: parameters[name].array.copy(order="K") for name in adapted}
        for name, array in adapted.items():
            _write(layer._parameters[name], array)


def unmerge(model: Any) -> None:
    """Take back `merge`: the old values come back bit for bit, and the adapters count again."""
    for layer in adapters_of(model):
        originals, layer.originals = layer.originals, None
        for name, array in (originals or {}).items():
            _write(layer._parameters[name], array)


def remove(model: Any) -> None:
    """Merge, and make plain layers of the adapted ones: the model is as one that was trained without adapters."""
    merge(model)
    take_out(model)


def take_out(model: Any) -> None:
    """The adapted layers become what they were, with the parameters that they have now; the adapters are gone."""
    layer: Any
    for layer in adapters_of(model):
        for name in layer.own:
            if name in layer._parameters:
                delattr(layer, name)
        del layer.originals
        layer.__class__ = layer.kind


def _write(parameter: Any, array: Any) -> None:
    parameter.array[...] = array
    parameter.bump_version()
