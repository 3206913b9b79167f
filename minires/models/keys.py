"""Names of weights: how others call the layers of a ResNet, and how a state dict is placed into a model.

A model keeps the names of the library it comes from (torchvision's; timm's where torchvision lacks it). Files by other
hands name the same layers otherwise: LAYOUTS says how to read each kind, HEAD how heads are called, OWNERS what stands
before every name when the network was an attribute of something larger. `fit` tries them, and takes what places every
tensor, with the right shape, in exactly one of the models it is given; anything else is an error that lists names.

Three differences are no misfit: another number of classes, another number of input channels (the caller decides what
to do), and a missing `num_batches_tracked`, which files of before 2018 lack.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minires import nn
from minires.errors import FileFormatError
from minires.nn.state import slots
from minires.tensor import Tensor

_STAGE = r"^(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\."
_BlockName = Callable[[re.Match[str]], str]


def _block(suffix: str) -> _BlockName:
    """The name of a layer in block b of stage s, from numbers that begin at 0 as Hugging Face counts both."""
    return lambda found: f"layer{int(found[1]) + 1}.{found[2]}.{suffix}"


def _numbered(kind: str) -> _BlockName:
    return lambda found: f"layer{int(found[1]) + 1}.{found[2]}.{kind}{int(found[3]) + 1}."


# whose names -> (pattern, what stands there instead), each tried once on every name
LAYOUTS: dict[str, tuple[tuple[str, str | _BlockName], ...]] = {
    "torchvision, timm": (),
    "Hugging Face (ResNetForImageClassification, ResNetModel)": (
        (r"^(?:resnet\.)?embedder\.embedder\.convolution\.", "conv1."),
        (r"^(?:resnet\.)?embedder\.embedder\.normalization\.", "bn1."),
        (_STAGE + r"shortcut\.convolution\.", _block("downsample.0.")),
        (_STAGE + r"shortcut\.normalization\.", _block("downsample.1.")),
        (_STAGE + r"layer\.(\d+)\.convolution\.", _numbered("conv")),
        (_STAGE + r"layer\.(\d+)\.normalization\.", _numbered("bn")),
    ),
    "shortcuts named so (many CIFAR repositories)": ((r"\.shortcut\.", ".downsample."),),
    "OpenMMLab (backbone and head)": ((r"^backbone\.", ""),),
}
HEAD = r"^(?:fc|head|classifier|classif|last_linear|linear|logits)(?:\.(?:fc|0|1))?\.(weight|bias)$"
OWNERS = ("module.", "model.", "net.", "network.", "backbone.", "encoder.", "timm_model.")


@dataclass(frozen=True)
class Target:
    """A model to be filled: its name and options, the shapes of its state by key, the keys that may be missing."""

    name: str
    options: dict[str, Any] = field(compare=False)
    shapes: dict[str, tuple[int, ...]] = field(compare=False)
    optional: frozenset[str]
    head: str  # the path of its head

    @property
    def stem(self) -> str:
        """The key of the first convolution's weight, the only one that sees the picture."""
        return next(key for key, shape in self.shapes.items() if len(shape) == 4)

    @property
    def linear_head(self) -> bool:
        """Whether the head is one layer, whose number of outputs may differ."""
        return f"{self.head}.weight" in self.shapes

    def in_head(self, key: str) -> bool:
        """Whether a key belongs to the head."""
        return key.startswith(f"{self.head}.")


def target_of(model: nn.Module, name: str, options: Mapping[str, Any], head: str) -> Target:
    """What can be filled in a model; its values do not matter."""
    places = slots(model)
    shapes = {key: slot.tensor.shape for key, slot in places.items()}
    return Target(name, dict(options), shapes, frozenset(key for key in places if places[key].optional), head)


@dataclass
class Fitted:
    """A state dict under the names of the model it fits. The head's entries are missing if `has_head` is False."""

    target: Target
    state: dict[str, Tensor]
    has_head: bool

    @property
    def num_classes(self) -> int | None:
        """Outputs of the head; None without one, or for one of several layers."""
        weight = self.state.get(f"{self.target.head}.weight")
        return None if weight is None or not self.target.linear_head else weight.shape[0]

    @property
    def in_channels(self) -> int:
        """Channels of the pictures that the first convolution takes."""
        return self.state[self.target.stem].shape[1]

    def without_head(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`state` without the head's entries."""
        return {key: value for key, value in state.items() if not self.target.in_head(key)}


def fit(
    state: Mapping[str, Tensor], targets: Iterable[Target], source: object, only_by_name: Iterable[str] = ()
) -> Fitted:
    """The state dict of the file `source` under the names of the one target that it fits.

    only_by_name: names of models that are taken only if no other fits. FileFormatError that lists the first tensors
    without a place, or the models if several fit.
    """
    if not state:
        raise FileFormatError(source, None, "there are no tensors in it")
    readings: list[dict[str, str]] = []
    for rules in LAYOUTS.values():
        reading = _strip_owners(rename(state, rules))
        if reading not in readings:  # most layouts leave most files as they are
            readings.append(reading)
    placed = [_place(state, reading, target) for target in targets for reading in readings]
    good: dict[tuple, Fitted] = {}
    for fitted, faults in placed:
        if not faults:
            good.setdefault((fitted.target.name, repr(sorted(fitted.target.options.items()))), fitted)
    names = set(only_by_name)
    if len(good) > 1:
        good = {key: fitted for key, fitted in good.items() if fitted.target.name not in names} or good
    if len(good) == 1:
        return next(iter(good.values()))
    if good:
        models = ", ".join(_described(fitted.target) for fitted in good.values())
        raise FileFormatError(source, None, f"these weights fit several models: {models}", hint="name the model")
    nearest, faults = min(placed, key=lambda pair: len(pair[1]))
    several = len({fitted.target.name for fitted, _ in placed}) > 1
    name = nearest.target.name
    fits = f"fit no known model; nearest is {name}" if several else f"do not fit the model {name}"
    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    raise FileFormatError(source, None, f"these weights {fits}: {'; '.join(faults[:5])}{more}")


def rename(state: Mapping[str, Any], rules: Iterable[tuple[str, str | _BlockName]]) -> dict[str, str]:
    """New name -> name in the state dict, by the rules of one layout."""
    names = {}
    for old in state:
        new = old
        for pattern, instead in rules:
            new = re.sub(pattern, instead, new)
        names[new] = old
    return names


def _strip_owners(names: Mapping[str, str]) -> dict[str, str]:
    """Without what all names begin with."""
    found = dict(names)
    while owner := next((o for o in OWNERS if found and all(name.startswith(o) for name in found)), None):
        found = {name.removeprefix(owner): old for name, old in found.items()}
    return found


def _place(state: Mapping[str, Tensor], names: Mapping[str, str], target: Target) -> tuple[Fitted, list[str]]:
    """The state under a target's names, and one line for each tensor that does not fit it."""
    placed: dict[str, Tensor] = {}
    faults: list[str] = []
    for name, old in names.items():
        key = name
        head = re.fullmatch(HEAD, name)
        if name not in target.shapes and head:
            key = f"{target.head}.{head[1]}"
        if key not in target.shapes:
            faults.append(f"no place for {old!r}")
        elif key in placed:
            faults.append(f"two tensors for {key!r}")
        else:
            placed[key] = _head_of_convolution(state[old], target, key)
    has_head = any(target.in_head(key) for key in placed)
    missing = [key for key in target.shapes if key not in placed and key not in target.optional]
    if not has_head:
        missing = [key for key in missing if not target.in_head(key)]
    faults += [f"nothing for {key!r}" for key in missing]
    for key, value in placed.items():
        shape = target.shapes[key]
        if not _same_shape(value.shape, shape, target, key):
            faults.append(f"{names.get(key, key)!r} has the shape {tuple(value.shape)}, not {shape}")
    return Fitted(target, placed, has_head), faults


def _head_of_convolution(value: Tensor, target: Target, key: str) -> Tensor:
    """A head that is a 1x1 convolution (timm's ResNetV2) as the matrix that it is."""
    matrix = target.linear_head and key == f"{target.head}.weight" and len(target.shapes[key]) == 2
    if matrix and len(value.shape) == 4 and tuple(value.shape[2:]) == (1, 1):
        return Tensor(value.array.reshape(value.shape[:2]))
    return value


def _same_shape(found: tuple[int, ...], expected: tuple[int, ...], target: Target, key: str) -> bool:
    """Equal, but for the head's outputs and the stem's inputs; a counter may have one axis or none."""
    if key == target.stem:
        return len(found) == 4 and found[1] > 0 and found[:1] + found[2:] == expected[:1] + expected[2:]
    if target.linear_head and target.in_head(key):
        return len(found) == len(expected) and found[0] > 0 and found[1:] == expected[1:]
    return tuple(found) == expected or (expected == () and found == (1,))


def _described(target: Target) -> str:
    options = ", ".join(f"{key}={value!r}" for key, value in target.options.items())
    return f"{target.name}({options})" if options else target.name


def adapt_stem(weight: Tensor, channels: int) -> Tensor:
    """The first convolution's weight (out, in, kh, kw) for pictures of another number of channels, as timm does it.

    One channel: the sum over all, as if the picture were shown in each. Otherwise: repeated in turn, and scaled so that
    the sum over the channels stays what it was.
    """
    array = np.asarray(weight.array)
    before = array.shape[1]
    if channels == 1:
        return Tensor(array.sum(axis=1, keepdims=True, dtype=array.dtype))
    repeated = np.tile(array, (1, math.ceil(channels / before), 1, 1))[:, :channels]
    return Tensor((repeated * (before / channels)).astype(array.dtype))
