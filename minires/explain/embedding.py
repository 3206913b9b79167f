"""Features in the plane: the two directions in which they differ most (principal component analysis, Pearson 1901).

With X the centred features (N, F) and X = U S V^T its singular value decomposition, the first columns of V are the
directions of the largest variance, X V the pictures' places along them, and S^2 / sum S^2 the share of all variance.
"""

from typing import Any

import numpy as np


def principal_components(features: Any, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """(places (N, count), shares of the variance (count,)). The largest entry of each direction is positive.

    Raises ValueError for less than one feature or picture. Directions that do not exist (two pictures span but one)
    have places and shares of 0.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not features.size or count < 1:
        raise ValueError(f"features are an array (N, F), and count at least 1; got {features.shape} and {count}")
    centred = features - features.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    largest = np.take_along_axis(directions, abs(directions).argmax(axis=1)[:, None], axis=1)
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    variance = sizes**2
    total = variance.sum()
    shares = variance / total if total > 0 else np.zeros_like(variance)
    places, kept = np.zeros((len(features), count)), np.zeros(count)
    used = min(count, len(sizes))
    places[:, :used] = centred @ directions[:used].T
    kept[:used] = shares[:used]
    return places, kept
