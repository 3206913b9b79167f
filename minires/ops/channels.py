"""Channels exchanged with pixels, and with each other. Elements only move: the gradient goes back the same way."""

from minires.ops.shape import reshape
from minires.tensor import Tensor, register


@register
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) to (..., C, H r, W r): channels become pixels, r = upscale_factor. Shi et al. 2016."""
    if input.ndim < 3:
        raise RuntimeError(f"pixel_shuffle expects input to have at least 3 dimensions, got shape {input.shape}")
    r, (*batch, channels, height, width) = upscale_factor, input.shape
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    if channels % (r * r):
        raise RuntimeError(f"pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of "
                           f"upscale_factor, but input.size(-3)={channels} is not divisible by {r * r}")  # fmt: skip
    return _exchanged(input, (*batch, channels // (r * r), r, r, height, width), (0, 3, 1, 4, 2),
                      (*batch, channels // (r * r), height * r, width * r))  # fmt: skip


@register
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) to (..., C r^2, H, W): `pixel_shuffle` undone."""
    if input.ndim < 3:
        raise RuntimeError(f"pixel_unshuffle expects input to have at least 3 dimensions, got shape {input.shape}")
    r, (*batch, channels, height, width) = downscale_factor, input.shape
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    if height % r or width % r:
        raise RuntimeError(f"pixel_unshuffle expects height and width to be divisible by downscale_factor, but "
                           f"{height} x {width} is not by {r}")  # fmt: skip
    return _exchanged(input, (*batch, channels, height // r, r, width // r, r), (0, 2, 4, 1, 3),
                      (*batch, channels * r * r, height // r, width // r))  # fmt: skip


def _exchanged(input: Tensor, apart: tuple[int, ...], order: tuple[int, ...], result: tuple[int, ...]) -> Tensor:
    """Axes taken apart, the last five of them in another order, and joined again."""
    ahead = len(apart) - 5
    opened = reshape(input, apart)
    return reshape(opened.permute(*range(ahead), *(ahead + axis for axis in order)), result)


@register
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channel g (C / groups) + i becomes channel i groups + g, so that groups mix. Zhang et al. 2018, "ShuffleNet"."""
    if input.ndim < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {input.shape}")
    batch, channels, *rest = input.shape
    if groups < 1 or channels % groups:
        raise RuntimeError(f"number of channels must be divisible by groups. Got {channels} channels, {groups} groups")
    return reshape(reshape(input, (batch, groups, channels // groups, *rest)).transpose(1, 2), input.shape)
