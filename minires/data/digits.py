"""A small real data set that needs no download: the 1,797 scanned digits that come with scikit-learn."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.data.arrays import ArrayDataset
from minires.errors import MiniresError


def load_digits(transform: Callable[[Any], Any] | None = None) -> ArrayDataset:
    """1,797 handwritten digits, 8 x 8 pixels of grey, ten classes "0" to "9" (Alpaydin and Kaynak 1998, UCI).

    The original grey levels 0..16 are scaled to 0..255. Images are uint8 (1797, 8, 8), so that transforms see Pillow
    pictures of the mode "L". Raises MiniresError (code "dependency.missing") where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        message = "the digits come with scikit-learn, which is not installed: pip install scikit-learn"
        raise MiniresError(message, code="dependency.missing", hint="pip install scikit-learn") from error
    levels, labels = load(return_X_y=True)
    images = np.rint(levels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    return ArrayDataset(images, labels.astype(np.int64), transform, classes=[str(digit) for digit in range(10)])
