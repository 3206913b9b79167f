"""Test-time augmentation: the mean of what a model says about several views of a picture.

    p(x) = 1/n sum_v softmax(model(v(x)))         for yes and no: of the logistic function; for numbers: of the outputs

Views, in this order: the picture, its mirror image, then the same two moved by a sixteenth of the side to the left,
right, up and down: ten in all. Nothing is drawn at random, so that the answer is always the same.
"""

from collections.abc import Callable
from typing import Any

from minires import nn
from minires.backend import Array, array_module
from minires.errors import UsageError
from minires.tensor import Tensor

SHIFTS = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))  # down, right; in sixteenths
MOST = 2 * len(SHIFTS)


def views(count: int) -> list[Callable[[Array], Array]]:
    """The first `count` views, as functions of pictures (N, C, H, W). UsageError for a number not in 1..10."""
    if not 1 <= count <= MOST:
        raise UsageError(f"--tta is a number of views from 1 to {MOST}, got {count}", code="usage.value")
    return [_view(down, right, mirrored) for down, right in SHIFTS for mirrored in (False, True)][:count]


def _view(down: int, right: int, mirrored: bool) -> Callable[[Array], Array]:
    def look(pictures: Array) -> Array:
        xp = array_module(pictures)
        height, width = pictures.shape[2:]
        rows = xp.clip(xp.arange(height) - down * max(height // 16, 1), 0, height - 1)  # edges are repeated
        columns = xp.clip(xp.arange(width) - right * max(width // 16, 1), 0, width - 1)
        moved = pictures if not down and not right else pictures[:, :, rows][:, :, :, columns]
        return moved[:, :, :, ::-1] if mirrored else moved

    return look


class TestTimeAugmentation(nn.Module):
    """A model whose output is the mean over `count` views: the scores whose probabilities are the mean ones.

    model: gives scores (N, K). means: "softmax" or "sigmoid", what makes probabilities of them, or "numbers", of which
    the mean is taken as they are. Letters and digits have no mirror image: count=1.
    """

    __test__ = False  # no test of pytest's

    def __init__(self, model: Any, count: int, means: str = "softmax") -> None:
        super().__init__()
        if means not in ("softmax", "sigmoid", "numbers"):
            raise ValueError(f'means is "softmax", "sigmoid" or "numbers", got {means!r}')
        self.views = views(count)
        self.model, self.means = model, means

    def forward(self, pictures: Tensor) -> Tensor:
        outputs = [self.model(Tensor(view(pictures.array))) for view in self.views]
        if self.means == "numbers":
            return _mean(outputs)
        if self.means == "sigmoid":
            yes, no = (_mean([(output * sign).sigmoid() for output in outputs]) for sign in (1.0, -1.0))
            return (yes + 1e-30).log() - (no + 1e-30).log()
        return (_mean([nn.functional.softmax(output, dim=1) for output in outputs]) + 1e-30).log()  # 0 would be -inf


def _mean(outputs: list[Tensor]) -> Tensor:
    return sum(outputs[1:], start=outputs[0]) / len(outputs)
