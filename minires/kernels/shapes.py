"""Sizes of what a sliding window gives and needs: shared by all sets of kernels, so that they cannot disagree."""

Pair = tuple[int, int]


def span(kernel: int, dilation: int = 1) -> int:
    """How many places of the input a window of `kernel` places, `dilation` apart, reaches over."""
    return dilation * (kernel - 1) + 1


def convolution_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Places a window can take along one axis: floor((size + 2 padding - span) / stride) + 1.

    Raises ValueError if the window does not fit once.
    """
    count = (size + 2 * padding - span(kernel, dilation)) // stride + 1
    if count < 1:
        raise ValueError(
            f"a window of {span(kernel, dilation)} (kernel {kernel}, dilation {dilation}) does not fit into "
            f"{size} places with padding {padding}"
        )
    return count


def convolution_sizes(image: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    """Height and width of a convolution's output."""
    height, width = (convolution_size(*axis) for axis in zip(image, kernel, stride, padding, dilation, strict=True))
    return height, width


def pooling_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """As `convolution_size`; with `ceil_mode` the quotient is rounded up, so that a last window may overhang the input.

    A window that would start in the right padding or beyond is dropped, as in PyTorch: it would see nothing.
    """
    if not ceil_mode:
        return convolution_size(size, kernel, stride, padding, dilation)
    count = -((span(kernel, dilation) - size - 2 * padding) // stride) + 1
    if (count - 1) * stride >= size + padding:
        count -= 1
    if count < 1:
        raise ValueError(f"a pooling window of {kernel} does not fit into {size} places with padding {padding}")
    return count


def pooling_sizes(image: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool) -> Pair:
    """Height and width of a pooling's output. Raises ValueError where the padding exceeds half of the window."""
    for axis in range(2):
        if not 0 <= padding[axis] <= span(kernel[axis], dilation[axis]) // 2:
            raise ValueError(f"pooling's padding must be from 0 to half of the window: {padding} for {kernel}")
    height, width = (
        pooling_size(*axis, ceil_mode) for axis in zip(image, kernel, stride, padding, dilation, strict=True)
    )
    return height, width


def reach(count: int, kernel: int, stride: int, dilation: int = 1) -> int:
    """Places of the padded input that `count` windows reach over, from the first place of the first window."""
    return (count - 1) * stride + span(kernel, dilation)


def taps(offset: int, count: int, stride: int) -> slice:
    """The places of the padded input that one position of the window, `offset` into it, meets as the window moves."""
    return slice(offset, offset + (count - 1) * stride + 1, stride)


def average_counts(size: int, count: int, kernel: int, stride: int, padding: int, count_include_pad: bool) -> list[int]:
    """By how many places along one axis each pooling window's sum is divided.

    With `count_include_pad` the padding counts, but not what a last window of `ceil_mode` reaches beyond it.
    """
    counts = []
    for index in range(count):
        start = index * stride - padding
        stop = min(start + kernel, size + padding)
        counts.append(stop - start if count_include_pad else min(stop, size) - max(start, 0))
    return counts


def adaptive_windows(size: int, count: int) -> list[slice]:
    """The windows of adaptive pooling: from floor(i size / count) to ceil((i + 1) size / count); they may overlap."""
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
