"""Where in a picture a model finds what it says: Grad-CAM, guided gradients and occlusion.

Grad-CAM (Selvaraju et al. 2017). Let A (C, h, w) be a feature map and s the score of a class. The gradient of s says
how much each channel speaks for the class; the map is the channels' weighted sum, where it speaks for the class at all:

    w_c = mean_ij ds / dA[c, i, j]            cam = relu(sum_c w_c A[c])

Guided gradients (Springenberg et al. 2015). The gradient of s by the pixels, but at each ReLU on the way back only its
positive part passes: what speaks against the class on the way is left out.

Occlusion (Zeiler and Fergus 2014). A grey square is laid over one place after the other; the map says how much the
class's probability falls. It is slow, but needs no gradient and believes nothing about the network.

The model is used in eval mode, its parameters get no gradients, and afterwards it is as it was.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import enable_grad, no_grad
from minires.tensor import Tensor
from minires.training.evaluation import eval_mode, evaluating


def grad_cam(model: Any, images: Tensor, classes: Any = None, layer: str | None = None) -> np.ndarray:
    """Maps (N, h, w) of values from 0 to 1, in the size of the layer's feature map; `enlarge` makes pictures of them.

    images: (N, C, H, W), normalised. classes: (N,) indices (default: the predicted ones). layer: name of the module
    whose output is looked at, such as "layer2" (default: the last feature map). A map that is 0 all over says that
    nothing there speaks for the class. Raises ValueError for a layer that gives no feature map.
    """
    with _untouched(model):
        features, scores = _with_features(model, images, layer)
        picked = _picked(scores, classes)
        with enable_grad():
            picked.sum().backward()
    if features.grad is None:
        raise ValueError(f"the scores do not depend on the layer {layer!r}")
    values, slopes = np.asarray(features.array, np.float64), np.asarray(features.grad.array, np.float64)
    maps = np.maximum((slopes.mean(axis=(2, 3), keepdims=True) * values).sum(axis=1), 0)
    largest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)


def guided_gradients(model: Any, images: Tensor, classes: Any = None) -> np.ndarray:
    """The guided gradients (N, C, H, W) of the classes' scores by the pixels. Arguments as in `grad_cam`."""
    leaf = Tensor(np.array(images.array, copy=True), requires_grad=True)

    def keep_positive(module: Any, grad_input: Any, grad_output: Any) -> Any:
        return tuple(None if part is None else Tensor(np.maximum(part.array, 0)) for part in grad_input)

    with _untouched(model), contextlib.ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                stack.callback(module.register_full_backward_hook(keep_positive).remove)
        with enable_grad():
            _picked(model(leaf), classes).sum().backward()
    assert leaf.grad is not None
    return np.asarray(leaf.grad.array)


def occlusion(
    model: Any, image: Tensor, target: int | None = None, size: int = 8, stride: int = 4, fill: float = 0.0,
    batch_size: int = 32,
) -> np.ndarray:  # fmt: skip
    """How much the probability of a class falls where a square is covered: (rows, columns), one number a place.

    image: (C, H, W), normalised. target: class index (default: the predicted one). size, stride: side of the square and
    the pixels from one place to the next. fill: what covers it; 0 is the mean colour of a normalised picture.
    """
    pixels = np.asarray(image.array)
    height, width = pixels.shape[1:]
    if not 1 <= size <= min(height, width) or stride < 1:
        raise ValueError(f"a square of {size} pixels every {stride} does not fit a picture of {height} x {width}")
    rows, columns = _places(height, size, stride), _places(width, size, stride)
    with evaluating(model):
        plain = _probabilities(model(Tensor(pixels[None].copy())))[0]
        target = int(plain.argmax()) if target is None else target
        covered = [(top, left) for top in rows for left in columns]
        falls: list[float] = []
        for start in range(0, len(covered), batch_size):
            places = covered[start : start + batch_size]
            batch = np.repeat(pixels[None], len(places), axis=0)
            for one, (top, left) in zip(batch, places, strict=True):
                one[:, top : top + size, left : left + size] = fill
            falls += (plain[target] - _probabilities(model(Tensor(batch)))[:, target]).tolist()
    return np.array(falls).reshape(len(rows), len(columns))


def enlarge(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps (N, h, w) in the size of the pictures (N, height, width), bilinear."""
    from PIL import Image

    return np.stack([
        np.asarray(Image.fromarray(one.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR))
        for one in maps
    ])  # fmt: skip


def _places(side: int, size: int, stride: int) -> list[int]:
    """Where squares begin: every `stride` pixels, and once more at the end, so that every pixel is covered."""
    places = list(range(0, side - size + 1, stride))
    return places if places[-1] == side - size else [*places, side - size]


def _probabilities(scores: Tensor) -> np.ndarray:
    shifted = np.exp(np.asarray(scores.array, np.float64) - scores.array.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _picked(scores: Tensor, classes: Any) -> Tensor:
    """The score of each picture's class (N,)."""
    chosen = scores.array.argmax(axis=1) if classes is None else np.asarray(classes)
    count, known = scores.shape
    if chosen.shape != (count,) or chosen.dtype.kind not in "iu" or not ((chosen >= 0) & (chosen < known)).all():
        raise ValueError(f"classes are {count} indices from 0 to {known - 1}, one for each picture, got {classes}")
    return scores[np.arange(count), chosen]


def _with_features(model: Any, images: Tensor, layer: str | None) -> tuple[Tensor, Tensor]:
    """(feature map, scores): the way from the one to the other is recorded, the way to the feature map is not."""
    if layer is None:
        with no_grad():
            features = model.forward_features(images)
        features = _leaf(features)
        with enable_grad():
            return features, model.forward_head(features)
    kept: list[Tensor] = []

    def keep(module: Any, arguments: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ValueError(f"the layer {layer!r} gives no feature map (N, C, h, w)")
        kept.append(_leaf(output))
        return kept[-1]

    modules = dict(model.named_modules())
    if layer not in modules:
        raise ValueError(f"the model has no layer {layer!r}")
    handle = modules[layer].register_forward_hook(keep)
    try:
        with enable_grad():
            scores = model(images)
    finally:
        handle.remove()
    if not kept:
        raise ValueError(f"the layer {layer!r} takes no part in the model's forward")
    return kept[-1], scores


def _leaf(tensor: Tensor) -> Tensor:
    return Tensor(np.array(tensor.array, copy=True), requires_grad=True)


@contextlib.contextmanager
def _untouched(model: Any) -> Iterator[None]:
    """Eval mode, and no gradients for the parameters; then everything as it was before."""
    wishes = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with eval_mode(model):
        try:
            for parameter, _ in wishes:
                parameter.requires_grad = False
            yield
        finally:
            for parameter, wish in wishes:
                parameter.requires_grad = wish
