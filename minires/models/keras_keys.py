"""Weights of keras.applications' ResNets for minires: other names, other axes, and a few differences of the network.

    names     conv2_block1_0_conv/kernel for layer1.0.downsample.0.weight; before 2019 res2a_branch1/kernel
    axes      kernels (height, width, in, out) for (out, in, height, width); matrices (in, out) for (out, in)
    network   Keras has the network of the paper: the stride in the first 1x1 convolution of a block, not in the 3x3;
              a bias in every convolution; 1.001e-5 added to the variance, 1e-3 in the files with the older names.
              That is the model `resnet50_keras` (101, 152); asked for as "resnet50", a Keras file gives it, too

One thing looks different and is not: Keras pads with zeros, on all sides alike, and then convolves or pools without
padding, which is torchvision's padding (for pooling zeros are as good as minus infinity, after a ReLU). The oldest
versions of the network with the older names pooled without padding, to 55 x 55 where later ones have 56 x 56, from the
same weights; here it is always padded.

What pictures are given to such a network stands in recipes.py: blue, green, red, from 0 to 255, minus a mean.
"""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from minires.errors import FileFormatError
from minires.tensor import Tensor

SUFFIX = "_keras"
OLDER = {"norm_eps": 1e-3}  # what the networks with the older names have otherwise
BLOCKS = {53: (3, 4, 6, 3), 104: (3, 4, 23, 3), 155: (3, 8, 36, 3)}  # number of convolutions -> blocks of each layer
WEIGHTS = {
    "kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
    "moving_variance": "running_var",
}  # fmt: skip
STEM_AND_HEAD = {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc"}
OLDER_STEM_AND_HEAD = {"conv1": "conv1", "bn_conv1": "bn1", "fc1000": "fc"}
_LAYER = re.compile(r"conv([2-5])_block(\d+)_([0-3])_(conv|bn)")
_OLDER_LAYER = re.compile(r"(res|bn)([2-5])([a-z])_branch(1|2a|2b|2c)")
_UNNAMED = re.compile(r"(conv2d|batch_normalization|dense)(?:_(\d+))?")


def adopt(
    state: Mapping[str, Tensor], source: object, name: str | None = None
) -> tuple[dict[str, Tensor], str | None, dict[str, Any]]:
    """(state dict, name of the model, options) for torchvision's layers; a state that is not Keras's stays as it is.

    name: the model that is asked for, or None. The arrays of other layers than a ResNet's are left out with a warning.
    FileFormatError if no layer of a ResNet is in it.
    """
    if not state or not all("/" in key for key in state):
        return dict(state), name, {}
    in_order = _by_order(state)
    placed: dict[str, Tensor] = {}
    left_out, older = [], False
    for key, value in state.items():
        *layers, weight = key.split("/")
        if in_order:
            layers = [in_order.get("/".join(layers), "")]
        found = next((path for layer in reversed(layers) if (path := layer_of(layer))), None)
        if found is None or weight not in WEIGHTS:
            left_out.append(key)
            continue
        older |= any(layer_of(layer, older_only=True) for layer in layers)
        place = f"{found}.{WEIGHTS[weight]}"
        if place in placed:
            raise FileFormatError(source, None, f"two arrays are the weight {place!r} of a ResNet; one is {key!r}")
        placed[place] = Tensor(_turned(np.asarray(value.array)))
    if not placed:
        raise FileFormatError(source, None, f"no layer of keras.applications' ResNets is in it; it has "
                              f"{', '.join(left_out[:5])}{', ...' if len(left_out) > 5 else ''}")  # fmt: skip
    if left_out:
        shown = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        warnings.warn(f"{source}: left out, since they belong to no ResNet: {shown}", stacklevel=3)
    if name is not None and not name.endswith(SUFFIX):
        name += SUFFIX
    return placed, name, dict(OLDER) if older else {}


def layer_of(name: str, older_only: bool = False) -> str | None:
    """The path of a layer of Keras's in a torchvision ResNet: "layer1.0.conv2" for "conv2_block1_2_conv"; or None."""
    if name in OLDER_STEM_AND_HEAD:
        return OLDER_STEM_AND_HEAD[name]
    older = _OLDER_LAYER.fullmatch(name)
    if older:
        number = {"1": 0, "2a": 1, "2b": 2, "2c": 3}[older[4]]
        return _path(int(older[2]), ord(older[3]) - ord("a"), number, "conv" if older[1] == "res" else "bn")
    if older_only:
        return None
    if name in STEM_AND_HEAD:
        return STEM_AND_HEAD[name]
    found = _LAYER.fullmatch(name)
    return None if found is None else _path(int(found[1]), int(found[2]) - 1, int(found[3]), found[4])


def _path(stage: int, block: int, number: int, kind: str) -> str:
    """Keras counts stages from 2 to 5; its layer 0 of a block is the shortcut."""
    inside = f"{kind}{number}" if number else f"downsample.{0 if kind == 'conv' else 1}"
    return f"layer{stage - 1}.{block}.{inside}"


def _turned(array: np.ndarray) -> np.ndarray:
    """A kernel or a matrix with the axes in torch's order; other arrays as they are."""
    return array.transpose({4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim, tuple(range(array.ndim))))


def _by_order(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Group -> layer's name, in files whose groups are only numbered (conv2d, conv2d_1, ...); empty for others.

    Convolutions and norms come in the order in which Keras lists the layers of these models: of a block 1, 2, 0, 3.
    """
    groups = {key.rpartition("/")[0] for key in state}
    numbered = {group: found for group in groups if (found := _UNNAMED.fullmatch(group.rpartition("/")[2]))}
    convolutions = [group for group, found in numbered.items() if found[1] == "conv2d"]
    owners = {group.rpartition("/")[0] for group in convolutions}
    blocks = BLOCKS.get(len(convolutions))
    if blocks is None or len(owners) != 1 or any(layer_of(part) for group in groups for part in group.split("/")):
        return {}
    layers = ["conv1_"]
    for stage, count in enumerate(blocks, 2):
        for block in range(1, count + 1):
            layers += [f"conv{stage}_block{block}_{number}_" for number in ((1, 2, 0, 3) if block == 1 else (1, 2, 3))]
    names = {
        "conv2d": [f"{layer}conv" for layer in layers],
        "batch_normalization": [f"{layer}bn" for layer in layers],
        "dense": ["predictions"],
    }
    owner, result = owners.pop(), {}
    for group, found in numbered.items():
        place = int(found[2] or 0)
        if group.rpartition("/")[0] == owner and place < len(names[found[1]]):
            result[group] = names[found[1]][place]
    return result
