"""Tables of settings shared by the tests of the reference kernels, against the definitions and against torch."""

import pytest


def case(name, *values):
    return pytest.param(*values, id=name)


# x shape, weight shape, stride, padding, dilation, groups
CONVOLUTIONS = [
    case("3x3", (2, 3, 5, 6), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    case("3x3 without padding", (2, 2, 5, 4), (3, 2, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    case("1x1", (2, 3, 4, 5), (4, 3, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    case("1x1 with stride and padding", (1, 3, 5, 4), (2, 3, 1, 1), (2, 3), (1, 0), (1, 1), 1),
    case("stride 2", (2, 2, 6, 7), (3, 2, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    case("stride beyond the window", (1, 2, 9, 8), (2, 2, 2, 3), (4, 5), (1, 1), (1, 1), 1),
    case("dilation", (1, 2, 8, 7), (3, 2, 3, 2), (1, 1), (2, 1), (2, 3), 1),
    case("dilation and stride", (1, 2, 9, 9), (2, 2, 3, 3), (2, 3), (3, 2), (3, 2), 1),
    case("unequal sides", (2, 2, 3, 9), (2, 2, 1, 5), (1, 2), (0, 3), (1, 1), 1),
    case("groups", (2, 4, 5, 5), (6, 2, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    case("groups, stride, dilation", (1, 6, 7, 8), (3, 2, 2, 3), (2, 1), (1, 2), (2, 1), 3),
    case("depthwise", (2, 3, 5, 5), (3, 1, 3, 3), (1, 1), (1, 1), (1, 1), 3),
    case("depthwise, two outputs each", (1, 3, 6, 5), (6, 1, 3, 3), (2, 2), (1, 1), (1, 1), 3),
    case("padding beyond the window", (1, 1, 2, 2), (1, 1, 2, 2), (1, 1), (3, 4), (1, 1), 1),
    case("window covers the image", (2, 3, 4, 3), (5, 3, 4, 3), (1, 1), (0, 0), (1, 1), 1),
    case("empty batch", (0, 2, 4, 4), (3, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    case("no input channels", (2, 0, 4, 4), (3, 0, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    case("no output channels", (2, 2, 4, 4), (0, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1),
]

# x shape, kernel size, stride, padding, dilation, ceil_mode
MAX_POOLS = [
    case("2x2", (2, 3, 6, 4), (2, 2), (2, 2), (0, 0), (1, 1), False),
    case("ResNet's 3x3", (2, 2, 7, 8), (3, 3), (2, 2), (1, 1), (1, 1), False),
    case("overlapping", (1, 2, 5, 6), (3, 2), (1, 1), (1, 0), (1, 1), False),
    case("stride beyond the window", (1, 2, 8, 9), (2, 2), (3, 4), (0, 1), (1, 1), False),
    case("ceil", (1, 2, 6, 5), (3, 3), (2, 2), (0, 0), (1, 1), True),
    case("ceil drops a window in the padding", (1, 1, 5, 5), (2, 2), (2, 2), (1, 1), (1, 1), True),
    case("ceil, stride 3", (2, 1, 8, 7), (3, 2), (3, 3), (1, 1), (1, 1), True),
    case("dilation", (1, 2, 7, 8), (2, 3), (2, 1), (1, 1), (3, 2), False),
    case("dilation and ceil", (1, 2, 9, 8), (3, 3), (2, 2), (1, 1), (2, 2), True),
    case("window of 17x17", (1, 1, 17, 18), (17, 17), (1, 1), (0, 0), (1, 1), False),
    case("empty batch", (0, 2, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1), False),
]

# x shape, kernel size, stride, padding, ceil_mode, count_include_pad, divisor_override
AVG_POOLS = [
    case("2x2", (2, 3, 6, 4), (2, 2), (2, 2), (0, 0), False, True, None),
    case("padding counts", (1, 2, 5, 6), (3, 3), (2, 2), (1, 1), False, True, None),
    case("padding does not count", (1, 2, 5, 6), (3, 3), (2, 2), (1, 1), False, False, None),
    case("ceil", (1, 2, 6, 5), (3, 3), (2, 2), (0, 0), True, True, None),
    case("ceil, padding counts", (1, 2, 6, 7), (3, 2), (2, 2), (1, 1), True, True, None),
    case("ceil, padding does not count", (2, 1, 6, 7), (3, 2), (2, 2), (1, 1), True, False, None),
    case("divisor", (1, 2, 5, 5), (2, 3), (1, 2), (0, 1), False, True, 5),
    case("divisor and ceil", (1, 2, 5, 6), (3, 3), (2, 2), (1, 1), True, False, -2),
    case("stride beyond the window", (1, 2, 8, 9), (2, 2), (3, 4), (0, 1), False, True, None),
    case("empty batch", (0, 2, 4, 4), (2, 2), (2, 2), (0, 0), False, True, None),
]

# x shape, output size
ADAPTIVE_POOLS = [
    case("global", (2, 3, 5, 4), (1, 1)),
    case("whole quotient", (2, 2, 6, 4), (3, 2)),
    case("overlapping windows", (1, 2, 7, 5), (3, 4)),
    case("larger than the image", (1, 2, 3, 2), (5, 3)),
    case("empty batch", (0, 2, 4, 4), (1, 1)),
]

# class weights?, ignore_index, label smoothing
CROSS_ENTROPIES = [
    case("plain", False, -100, 0.0),
    case("weights", True, -100, 0.0),
    case("ignored", False, 2, 0.0),
    case("smoothing", False, -100, 0.1),
    case("all of it", True, 0, 0.3),
    case("smoothing alone", True, -1, 1.0),
]
