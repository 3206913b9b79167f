"""Random arguments for the layers and losses in table_network.py. See draws.py."""

from typing import Any

import numpy as np

from minires.ops.draws import Arguments, Draw, Random, distinct, nonzero, normal, one_of, positive, shape
from minires.ops.draws_network import image, window


def away_from(*kinks: float) -> Any:
    """Numbers from about -9 to 9, none within 0.05 of a kink."""

    def values(random: Random, *sizes: int) -> np.ndarray:
        x = normal(random, *sizes) * 3
        for kink in kinks:
            x = np.where(abs(x - kink) < 0.05, kink + 0.1, x)
        return np.asarray(x)

    return values


def activation(*kinks: float, **named: Any) -> Draw:
    """One tensor away from the kinks, and settings, each one of a list."""
    values = away_from(*kinks)

    def draw(random: Random) -> Arguments:
        return [values(random, *shape(random))], {name: one_of(random, *choices) for name, choices in named.items()}

    return draw


def learnt_slope(random: Random) -> Arguments:
    """prelu(x, weight): one weight, or one a channel."""
    sizes = shape(random, 2, 4)
    weight = one_of(random, positive(random, 1), normal(random, sizes[1]))
    return [away_from(0.0)(random, *sizes), weight], {}


def gated(random: Random) -> Arguments:
    """glu(x, dim)."""
    sizes = list(shape(random, 1, 3))
    axis = int(random.integers(0, len(sizes)))
    sizes[axis] *= 2
    return [normal(random, *sizes), axis], {}


# --------------------------------------------------------------------------------------------------------- windows


def row_convolution(random: Random) -> Arguments:
    """conv1d(x, weight, bias, stride, padding, dilation, groups)."""
    sizes, groups = {k: v[0] for k, v in window(random, pooling=False).items()}, int(random.integers(1, 3))
    inputs, outputs = (int(random.integers(1, 3)) for _ in range(2))
    length = sizes["dilation"] * (sizes["kernel"] - 1) + int(random.integers(1, 5))
    x = normal(random, *one_of(random, (), (2,)), groups * inputs, length)
    weight = normal(random, groups * outputs, inputs, sizes["kernel"])
    padding = one_of(random, sizes["padding"], "same") if sizes["stride"] == 1 else sizes["padding"]
    bias = one_of(random, None, normal(random, groups * outputs))
    return [x, weight, bias, sizes["stride"], padding, sizes["dilation"], groups], {}


def transposed(axes: int) -> Draw:
    """conv_transpose1d and conv_transpose2d(x, weight, bias, stride, padding, output_padding, groups, dilation)."""

    def draw(random: Random) -> Arguments:
        sizes, groups = window(random, pooling=True), int(random.integers(1, 3))
        inputs, outputs = (int(random.integers(1, 3)) for _ in range(2))
        lengths = [int(n) for n in random.integers(2, 5, axes)]
        x = normal(random, *one_of(random, (), (2,)), groups * inputs, *lengths)
        weight = normal(random, groups * inputs, outputs, *sizes["kernel"][:axes])
        most = [max(s, d) for s, d in zip(sizes["stride"], sizes["dilation"], strict=True)]
        extra = tuple(int(random.integers(0, n)) for n in most)
        bias = one_of(random, None, normal(random, groups * outputs))
        tuples = (sizes["stride"], sizes["padding"], extra, sizes["dilation"])
        stride, padding, extra, dilation = (value if axes == 2 else value[:1] for value in tuples)
        return [x, weight, bias, stride, padding, extra, groups, dilation], {}

    return draw


def largest_and_places(random: Random) -> Arguments:
    """max_pool2d_with_indices(x, kernel_size, stride, padding, dilation, ceil_mode)."""
    sizes = window(random, pooling=True)
    x = image(random, distinct, int(random.integers(1, 3)), sizes["kernel"], sizes["dilation"])
    return [x[0] if random.random() < 0.3 else x, *sizes.values(), bool(random.integers(0, 2))], {}


def row_pooling(values: Any, dilated: bool, **named: Any) -> Draw:
    """max_pool1d(x, kernel, stride, padding, dilation, ceil_mode), avg_pool1d without dilation."""

    def draw(random: Random) -> Arguments:
        sizes = {name: pair[0] for name, pair in window(random, pooling=True).items()}
        if not dilated:
            sizes["dilation"] = 1
        length = sizes["dilation"] * (sizes["kernel"] - 1) + int(random.integers(1, 5))
        x = values(random, *one_of(random, (), (2,)), int(random.integers(1, 3)), length)
        given = list(sizes.values()) if dilated else list(sizes.values())[:-1]
        return [x, *given, bool(random.integers(0, 2))], dict(named)

    return draw


def adaptive(values: Any, axes: int, **named: Any) -> Draw:
    """adaptive pooling(x, output_size) along one or two axes."""

    def draw(random: Random) -> Arguments:
        x = values(random, *one_of(random, (), (2,)), int(random.integers(1, 3)), *random.integers(1, 7, axes))
        size = tuple(int(n) for n in random.integers(1, 4, axes))
        return [x, one_of(random, size, size[0])], dict(named)

    return draw


def unpooled(axes: int) -> Draw:
    """max_unpool1d and max_unpool2d(x, indices, 2, 2)."""

    def draw(random: Random) -> Arguments:
        lengths = [int(n) for n in random.integers(1, 4, axes)]
        ahead = (2, int(random.integers(1, 3)))
        count = int(np.prod(lengths))
        places = np.stack([random.permutation(count * 2**axes)[:count] for _ in range(ahead[0] * ahead[1])])
        return [normal(random, *ahead, *lengths), places.reshape(*ahead, *lengths).astype(np.int64), 2, 2], {}

    return draw


def power_pooling(axes: int) -> Draw:
    """lp_pool1d and lp_pool2d(x, p, 2)."""

    def draw(random: Random) -> Arguments:
        return [positive(random, 2, 2, *random.integers(2, 6, axes)), one_of(random, 1, 2, 3.0), 2], {}

    return draw


def shuffled(random: Random) -> Arguments:
    """pixel_shuffle(x, 2)."""
    return [normal(random, *shape(random, 0, 2), 4 * int(random.integers(1, 3)), 2, 3), 2], {}


def unshuffled(random: Random) -> Arguments:
    """pixel_unshuffle(x, 2)."""
    return [normal(random, *shape(random, 0, 2), int(random.integers(1, 3)), 4, 6), 2], {}


def mixed_channels(random: Random) -> Arguments:
    """channel_shuffle(x, groups)."""
    groups = int(random.integers(1, 4))
    return [normal(random, 2, groups * int(random.integers(1, 4)), *shape(random, 1, 2)), groups], {}


# -------------------------------------------------------------------------------------------------------- resizing


def resized(mode: str, axes: int, antialias: bool = False) -> Draw:
    """interpolate(x, size or scale_factor, mode=, align_corners=, recompute_scale_factor=, antialias=).

    With antialias torch 2.13 repeats the first row where the new width is 1, and its gradient is not that of its result
    where a scale factor leaves a length as it is: neither is drawn.
    """

    def draw(random: Random) -> Arguments:
        lengths = [int(n) for n in random.integers(2, 7, axes)]
        x = normal(random, 2, int(random.integers(1, 3)), *lengths)
        named: dict[str, Any] = {"mode": mode}
        if mode not in ("nearest", "nearest-exact", "area"):
            named["align_corners"] = one_of(random, None, False, True)
        if antialias:
            named["antialias"] = True
        if random.random() < 0.5:
            return [x, tuple(int(n) for n in random.integers(2 if antialias else 1, 9, axes))], named
        choices = [1.5, 2.0, 2.7] if antialias else [0.5, 1.3, 2.0, 2.7]  # 1.3 may leave a length: see above
        factors = tuple(float(factor) for factor in random.choice(choices, axes))
        return [x], {**named, "scale_factor": factors, "recompute_scale_factor": one_of(random, None, True)}

    return draw


def sampled(random: Random) -> Arguments:
    """grid_sample(x, grid, mode, padding_mode, align_corners), places away from the middles and edges of pixels."""
    height, width = (int(n) for n in random.integers(2, 6, 2))
    align_corners = bool(random.integers(0, 2))
    x = normal(random, 2, int(random.integers(1, 3)), height, width)
    whole = random.integers(-2, max(height, width) + 1, (2, 3, 2, 2))
    pixels = whole + random.choice([0.15, 0.35, 0.65, 0.85], whole.shape)
    lengths = np.array([width, height])
    grid = pixels / (lengths - 1) * 2 - 1 if align_corners else (pixels * 2 + 1) / lengths - 1
    mode = one_of(random, "bilinear", "nearest", "bicubic")
    return [x, grid, mode, one_of(random, "zeros", "border", "reflection"), align_corners], {}


def moved_grid(random: Random) -> Arguments:
    """affine_grid(theta, size, align_corners)."""
    size = (2, 1, *(int(n) for n in random.integers(2, 5, 2)))  # torch warns of 1
    return [normal(random, 2, 2, 3), size, bool(random.integers(0, 2))], {}


# --------------------------------------------------------------------------------------------------- normalisation


def layers(rooted: bool = False) -> Draw:
    """layer_norm(x, normalized_shape, weight, bias, eps), rms_norm without bias."""

    def draw(random: Random) -> Arguments:
        last = (int(random.integers(2, 5)), *shape(random, 0, 1))
        x = normal(random, *shape(random, 0, 2), *last)
        weight, bias = one_of(random, None, nonzero(random, *last)), one_of(random, None, nonzero(random, *last))
        return [x, last, weight, *(() if rooted else (bias,)), one_of(random, 1e-2, 0.1)], {}

    return draw


def instances(use_input_stats: bool) -> Draw:
    """instance_norm(x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)."""

    def draw(random: Random) -> Arguments:
        channels = int(random.integers(1, 4))
        x = normal(random, 2, channels, int(random.integers(2, 4)), *shape(random, 0, 1))
        statistics: list[Any] = [normal(random, channels), positive(random, channels)]
        if use_input_stats and random.random() < 0.5:
            statistics = [None, None]
        learnt = [one_of(random, (None, None), (nonzero(random, channels), nonzero(random, channels)))][0]
        return [x, *statistics, *learnt, use_input_stats, 0.1, one_of(random, 1e-2, 0.1)], {}

    return draw


def responses(random: Random) -> Arguments:
    """local_response_norm(x, size, alpha, beta, k)."""
    x = normal(random, 2, int(random.integers(1, 6)), *shape(random, 1, 2))
    return [x, int(random.integers(1, 5)), one_of(random, 1e-4, 0.5), 0.75, one_of(random, 1.0, 2.0)], {}


def looked_up(random: Random) -> Arguments:
    """embedding(index, weight), of rows that all have their full gradient."""
    rows = int(random.integers(1, 5))
    index = random.integers(0, rows, shape(random, 0, 2))
    return [index, normal(random, rows, 3), None, None, 2.0], {}


def bags(random: Random) -> Arguments:
    """embedding_bag(index, weight, offsets, mode=, padding_idx=)."""
    index, rows = random.permutation(6), distinct(random, 6, 2)
    places = one_of(random, ([index.reshape(2, 3), rows], {}), ([index, rows, np.array([0, 2, 2])], {}))
    return places[0], {"mode": one_of(random, "sum", "mean", "max"), "padding_idx": one_of(random, None, 1)}


def dropped(random: Random, axes: int) -> Arguments:
    """dropout of channels(x, p, training)."""
    return [normal(random, *shape(random, axes, axes)), one_of(random, 0.0, 0.4, 1.0), True], {}


def attended(random: Random) -> Arguments:
    """scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=)."""
    leading = one_of(random, (), (2,), (2, 2))
    queries, keys = int(random.integers(1, 4)), int(random.integers(1, 4))
    tensors = [normal(random, *leading, n, width) for n, width in ((queries, 3), (keys, 3), (keys, 2))]
    seen = random.random((queries, keys)) < 0.7
    seen[:, 0] = True
    mask = one_of(random, None, None, normal(random, queries, keys), normal(random, *leading, 1, keys), seen)
    return [*tensors, mask, 0.0, mask is None and bool(random.integers(0, 2))], {"scale": one_of(random, None, 0.3)}


def convolved_volumes(random: Random) -> Arguments:
    """conv3d and conv_transpose3d(x, weight, bias, stride=, padding=, ...)."""
    groups = one_of(random, 1, 2)
    weight = normal(random, 2, 2 // groups, 2, 1, 2)
    named = {"stride": one_of(random, 1, (2, 1, 2)), "padding": one_of(random, 0, (1, 0, 1)), "groups": groups}
    bias = one_of(random, None, normal(random, 2))
    return [normal(random, 1, 2, 3, 2, 3), weight, bias], {**named, "dilation": one_of(random, 1, (2, 1, 1))}


def pooled_volumes(numbers: Any, **settings: tuple[Any, ...]) -> Draw:
    """max_pool3d and avg_pool3d(x, kernel_size, stride, padding, ...)."""

    def draw(random: Random) -> Arguments:
        named = {name: one_of(random, *choices) for name, choices in settings.items()}
        places = [(2, 3, 2), one_of(random, None, 2), one_of(random, 0, 1)]
        return [numbers(random, 1, 2, 4, 5, 4), *places], {**named, "ceil_mode": one_of(random, True, False)}

    return draw
