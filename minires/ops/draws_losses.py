"""Random arguments for losses and measures of vectors in table_network.py. See draws.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.ops.draws import Arguments, Draw, Random, nonzero, normal, one_of, positive, shape

REDUCTIONS = ("mean", "sum", "none")


def _reduction(random: Random, **named: Any) -> dict[str, Any]:
    return {"reduction": one_of(random, *REDUCTIONS), **{k: one_of(random, *v) for k, v in named.items()}}


def probability(random: Random, *sizes: int) -> np.ndarray:
    """From 0.1 to 0.9."""
    return np.asarray(random.uniform(0.1, 0.9, sizes))


def sign(random: Random, *sizes: int) -> np.ndarray:
    """-1.0 or 1.0."""
    return np.asarray(random.integers(0, 2, sizes) * 2.0 - 1)


def of_pairs(first: Callable[..., Any], second: Callable[..., Any], fewest: int = 0, **named: Any) -> Draw:
    """(input, target) of one shape, and settings, each one of a list."""

    def draw(random: Random) -> Arguments:
        sizes = shape(random, fewest, 3)
        return [first(random, *sizes), second(random, *sizes)], _reduction(random, **named)

    return draw


def robust(setting: str) -> Draw:
    """huber_loss(delta=) and smooth_l1_loss(beta=), differences away from the kinks."""

    def draw(random: Random) -> Arguments:
        sizes = shape(random, 0, 3)
        x = normal(random, *sizes)
        return [x, x + nonzero(random, *sizes)], _reduction(random, **{setting: (0.2, 3.0)})

    return draw


def weighed(first: Callable[..., Any], positives: bool) -> Draw:
    """binary cross entropies with weights, which may be broadcast."""

    def draw(random: Random) -> Arguments:
        sizes = shape(random, 1, 3)
        named = _reduction(random)
        named["weight"] = one_of(random, None, positive(random, *sizes), positive(random, sizes[-1]))
        if positives:
            named["pos_weight"] = one_of(random, None, positive(random, sizes[-1]))
        return [first(random, *sizes), probability(random, *sizes)], named

    return draw


def weighed_pairs(random: Random) -> Arguments:
    """mse_loss, l1_loss and huber_loss(input, target, weight=), differences away from 0."""
    sizes = shape(random, 1, 3)
    x = normal(random, *sizes)
    return [x, x + nonzero(random, *sizes)], {**_reduction(random), "weight": positive(random, *sizes)}


def divergence(random: Random) -> Arguments:
    """kl_div(input, target, reduction=, log_target=); of "mean" torch warns."""
    sizes, log_target = shape(random, 1, 3), bool(random.integers(0, 2))
    target = normal(random, *sizes) if log_target else probability(random, *sizes)
    return [normal(random, *sizes), target], {"reduction": one_of(random, "sum", "none", "batchmean"),
                                              "log_target": log_target}  # fmt: skip


def counts(random: Random) -> Arguments:
    """poisson_nll_loss(input, target, log_input, full)."""
    sizes = shape(random, 0, 2)
    target = random.choice([0.0, 1.0, 1.5, 4.0], sizes)
    return [positive(random, *sizes), np.asarray(target), bool(random.integers(0, 2)), bool(random.integers(0, 2))], {
        "reduction": one_of(random, *REDUCTIONS)
    }


def gaussian(random: Random) -> Arguments:
    """gaussian_nll_loss(input, target, var, full=)."""
    sizes = shape(random, 1, 2)
    var = one_of(random, positive(random, *sizes), positive(random, *sizes[:-1], 1))
    return [normal(random, *sizes), normal(random, *sizes), var], _reduction(random, full=(True, False))


def triplets(random: Random) -> Arguments:
    """triplet_margin_loss(anchor, positive, negative, margin, p, swap=)."""
    sizes = (int(random.integers(1, 4)), 3)
    return [*(normal(random, *sizes) for _ in range(3))], _reduction(random, margin=(0.5, 30.0), p=(2.0, 3.0),
                                                                      swap=(True, False))  # fmt: skip


def own_triplets(random: Random) -> Arguments:
    """triplet_margin_with_distance_loss(anchor, positive, negative, margin=, swap=)."""
    sizes = (int(random.integers(1, 4)), 3)
    return [*(normal(random, *sizes) for _ in range(3))], _reduction(random, margin=(30.0,), swap=(True, False))


def of_angles(margin: float) -> Draw:
    """arcface_loss and cosface_loss(s cosines, target, margin, s), cosines away from the kinks."""

    def draw(random: Random) -> Arguments:
        rows, classes, scale = int(random.integers(1, 4)), int(random.integers(2, 5)), one_of(random, 1.0, 10.0)
        cosines = random.uniform(-0.85, 0.95, (rows, classes))
        target = random.integers(0, classes, rows)
        return [cosines * scale, target, one_of(random, margin, 0.0), scale], _reduction(random)

    return draw


def in_a_batch(random: Random) -> Arguments:
    """batch_hard_triplet_loss(embeddings, target, margin)."""
    target = random.permutation([0, 0, 0, 1, 1, 2])
    return [normal(random, 6, 3), target, one_of(random, 30.0, None)], _reduction(random)


def two_vectors(random: Random) -> Arguments:
    """cosine_embedding_loss(x1, x2, target, margin)."""
    rows = one_of(random, (), (3,))
    return [normal(random, *rows, 4), normal(random, *rows, 4), sign(random, *rows), one_of(random, 0.0, -0.3)], {
        "reduction": one_of(random, *REDUCTIONS)
    }


def ranked(random: Random) -> Arguments:
    """margin_ranking_loss(x1, x2, target, margin)."""
    sizes = shape(random, 0, 2)
    return [normal(random, *sizes), normal(random, *sizes), sign(random, *sizes), 0.123], _reduction(random)


def scores(random: Random) -> Arguments:
    """multi_margin_loss(x, target, p, margin, weight)."""
    classes, rows = int(random.integers(2, 5)), int(random.integers(1, 4))
    weight = one_of(random, None, positive(random, classes))
    return [normal(random, rows, classes), random.integers(0, classes, rows), one_of(random, 1, 2), 1.0, weight], {
        "reduction": one_of(random, *REDUCTIONS)
    }


def several_classes(random: Random) -> Arguments:
    """multilabel_margin_loss(x, target)."""
    target = np.stack([random.permutation(4) for _ in range(3)])
    target[:, 2:][random.random((3, 2)) < 0.5] = -1
    return [normal(random, 3, 4), target], _reduction(random)


def labels(random: Random) -> Arguments:
    """multilabel_soft_margin_loss(x, target, weight)."""
    sizes = shape(random, 1, 2)
    target = random.integers(0, 2, sizes) * 1.0
    return [normal(random, *sizes), target, one_of(random, None, positive(random, sizes[-1]))], _reduction(random)


def distributions(random: Random) -> Arguments:
    """cross_entropy(scores, probabilities, weight=, reduction=, label_smoothing=)."""
    sizes = (int(random.integers(1, 4)), int(random.integers(2, 5)), *shape(random, 0, 2, 3))
    named = _reduction(random, label_smoothing=(0.0, 0.3))
    return [normal(random, *sizes), probability(random, *sizes)], {
        **named, "weight": one_of(random, None, positive(random, sizes[1]))
    }  # fmt: skip


def overlapping(random: Random) -> Arguments:
    """dice_loss(probabilities, target)."""
    sizes = (2, int(random.integers(1, 3)), *shape(random, 1, 2))
    return [probability(random, *sizes), random.integers(0, 2, sizes) * 1.0], _reduction(random)


# --------------------------------------------------------------------------------------------- measures of vectors


def normalised(random: Random) -> Arguments:
    """normalize(x, p, dim)."""
    x = nonzero(random, *shape(random, 0, 2), 3, 2)
    return [x, one_of(random, 2.0, 3.0), int(random.integers(x.ndim - 2, x.ndim))], {}


def cosines(random: Random) -> Arguments:
    """cosine_similarity(x1, x2, dim)."""
    sizes = (*shape(random, 0, 2), 3)
    other = one_of(random, sizes, (*(1 for _ in sizes[1:]), 3))
    return [nonzero(random, *sizes), nonzero(random, *other), len(sizes) - 1], {}


def distances(random: Random) -> Arguments:
    """pairwise_distance(x1, x2, p, eps, keepdim)."""
    sizes = (int(random.integers(1, 4)), 3)
    settings = [one_of(random, 2.0, 3.0), 1e-6, one_of(random, True, False)]
    return [normal(random, *sizes), normal(random, *sizes), *settings], {}
