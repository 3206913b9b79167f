"""The parts of a plan: memory, products, layers against the reference, pooling, and the team of threads."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.kernels.cpu import (
    inference_conv,
    inference_pool,
    inference_products,
    inference_strips,
    inference_team,
    inference_winograd,
    small_products,
)
from minires.kernels.cpu.inference_groups import Grouped
from minires.kernels.cpu.inference_layout import ALONE, Activation, Border, Share, blocks
from minires.kernels.cpu.inference_memory import Need, Workspace, places
from minires.kernels.cpu.windows import Geometry
from minires.kernels.reference.conv_act import conv2d_act_forward
from minires.kernels.reference.pool import adaptive_avg_pool2d_forward, max_pool2d_forward
from minires.kernels.shapes import convolution_sizes, pooling_sizes
from tests.kernels.helpers import normal

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
some = settings(deadline=None, max_examples=60, derandomize=True)


NONE = Border()


def close(y, expected, dtype="float32"):
    assert np.abs(y - expected).max(initial=0) <= TOLERANCE[dtype] * max(1, np.abs(expected).max(initial=0))


def run(calls):
    for call in calls:
        call()


# ------------------------------------------------------------------------------------------------ memory and blocks


@some
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 12), st.integers(0, 5)), max_size=14))
def test_what_is_needed_at_the_same_time_lies_apart(drawn):
    needs = [Need(size, first, first + length) for size, first, length in drawn]
    offsets, total = places(needs)
    for i, (a, start) in enumerate(zip(needs, offsets, strict=True)):
        assert start % 64 == 0 and start + a.bytes <= total
        for b, other in zip(needs[:i], offsets[:i], strict=True):
            together = a.first <= b.last and b.first <= a.last
            assert not together or start + a.bytes <= other or other + b.bytes <= start


def test_a_chain_takes_the_memory_of_two():
    needs = [Need(640, step, step + 1) for step in range(20)]
    assert places(needs)[1] == 2 * 640
    assert places([]) == ([], 0)


def test_a_workspace_grows_and_then_stays():
    work = Workspace()
    for _ in range(2):
        work.start()
        first, second = work.take((3, 4), np.dtype("float32")), work.take((5,), np.dtype("float64"))
    work.start()
    again = work.take((2, 2), np.dtype("float32"))
    assert np.shares_memory(first, again) and not np.shares_memory(first, second)
    assert work.bytes == 3 * 4 * 4 + 5 * 8 and first.ctypes.data % 64 == 0


@some
@given(st.integers(1, 9), st.integers(0, 20), st.integers(1, 300), st.integers(1, 3000), st.integers(1, 4))
def test_blocks_and_shares_cover_everything_once(images, rows, width, budget, count):
    seen = np.zeros((images, rows), int)
    for index in range(count):
        for part, some_rows in blocks(images, Share(index, count).of(rows, 2), width, budget):
            seen[part, some_rows.start : some_rows.stop] += 1
            assert len(some_rows) * width <= max(budget, width)
    assert (seen == 1).all()


# --------------------------------------------------------------------------------------------------------- products


@pytest.fixture(params=[True, False], ids=["small products", "whole products"])
def small_or_whole(request, monkeypatch):
    monkeypatch.setattr(small_products, "small_products_pay", lambda: request.param)


@pytest.mark.usefixtures("small_or_whole")
@pytest.mark.parametrize("many", [(), (3,)])
@pytest.mark.parametrize(("rows", "k", "n"), [(1, 3, 5), (500, 64, 64), (700, 64, 192), (61, 300, 96), (200, 130, 100),
                                              (33, 2000, 64), (3, 2000, 128), (40, 16, 3)])  # fmt: skip
def test_products(many, rows, k, n):
    left, right = normal(1, (*many, rows, k), "float32"), normal(2, (*many, k, n), "float32")
    weights = inference_products.Weights(right.shape, lambda: right)
    whole = np.full((*many, rows, n + 7), np.nan, np.float32)  # with gaps between its rows
    run(weights.product(left, whole[..., :n]))
    close(whole[..., :n], left @ right)
    assert np.isnan(whole[..., n:]).all() and weights.bytes == right.nbytes


@pytest.mark.usefixtures("small_or_whole")
@pytest.mark.parametrize("length", [1, 64, 700, 9000])
def test_transforms(length):
    matrix, values = normal(1, (16, 36), "float32"), normal(2, (36, length + 16), "float32")[:, :length]
    out = np.empty((16, length), np.float32)
    run(inference_products.transform(matrix, values, out))
    close(out, matrix @ values)


# ----------------------------------------------------------------------------------------------------------- layers


def activation(images, border):
    """Images (N, C, H, W) with zeros around them, channels last."""
    widths = [(0, 0), (border.top, border.bottom), (border.left, border.right), (0, 0)]
    return Activation(np.ascontiguousarray(np.pad(images.transpose(0, 2, 3, 1), widths)), border)


def check_layer(kind, x_shape, outputs, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1), *, dtype="float32",
                border=NONE, shares=1, seed=1):  # fmt: skip
    """All three ways to finish, into an activation without and with a border, divided among `shares` threads."""
    size = convolution_sizes(x_shape[2:], kernel, stride, padding, dilation)
    geometry = Geometry(kernel, stride, padding, dilation, size)
    x, weight = normal(seed, x_shape, dtype), normal(seed + 1, (outputs, x_shape[1], *kernel), dtype)
    bias, residual = normal(seed + 2, (outputs,), dtype), normal(seed + 3, (x_shape[0], outputs, *size), dtype)
    for b, r, relu in ((bias, residual, True), (None, residual, False), (bias, None, True), (None, None, False)):
        layer = kind(weight, b, geometry, relu)
        source = activation(x, layer.border.joined(border))
        target = activation(np.full((x_shape[0], outputs, *size), np.nan, dtype), border)
        other = None if r is None else activation(r, border)
        for index in range(shares):
            work = Workspace()
            layer.calls(source, target, other, work, Share(index, shares))
            run(layer.calls(source, target, other, work, Share(index, shares)))
        expected = conv2d_act_forward(x, weight, b, r, relu, stride, padding, dilation, 1)
        close(target.inner.transpose(0, 3, 1, 2), expected, dtype)
        assert not any(zeros.any() for zeros in target.zeros()) and layer.bytes > 0


borders = pytest.mark.parametrize("border", [Border(), Border(1, 1, 2, 3)])


@borders
@pytest.mark.usefixtures("small_or_whole")
@pytest.mark.parametrize("shares", [1, 2, 3])
@pytest.mark.parametrize(("kind", "x_shape", "outputs", "kernel", "stride", "padding", "dilation"), [
    (inference_conv.Pointwise, (2, 5, 6, 7), 9, (1, 1), (1, 1), (0, 0), (1, 1)),
    (inference_conv.Pointwise, (2, 5, 6, 7), 64, (1, 1), (2, 3), (0, 0), (1, 1)),
    (inference_conv.Pointwise, (1, 40, 3, 3), 192, (1, 1), (1, 1), (0, 0), (1, 1)),
    (inference_conv.Columns, (2, 3, 11, 12), 16, (7, 7), (2, 2), (3, 3), (1, 1)),
    (inference_conv.Columns, (2, 4, 8, 9), 7, (3, 2), (1, 2), (1, 0), (2, 1)),
    (inference_conv.Columns, (1, 4, 6, 6), 64, (3, 3), (1, 1), (1, 1), (1, 2)),
    (inference_conv.Columns, (3, 2, 5, 6), 8, (3, 3), (1, 1), (1, 1), (1, 1)),
    (inference_winograd.Winograd, (2, 6, 8, 8), 5, (3, 3), (1, 1), (1, 1), (1, 1)),
    (inference_winograd.Winograd, (1, 3, 7, 10), 64, (3, 3), (1, 1), (0, 2), (1, 1)),
    (inference_winograd.Winograd, (3, 4, 3, 3), 4, (3, 3), (1, 1), (1, 1), (1, 1)),
    (inference_strips.Strips, (2, 6, 8, 8), 5, (3, 3), (1, 1), (1, 1), (1, 1)),
    (inference_strips.Strips, (1, 3, 7, 10), 64, (3, 3), (1, 1), (0, 2), (1, 1)),
    (inference_strips.Strips, (3, 4, 3, 3), 4, (3, 3), (1, 1), (2, 1), (1, 1)),
])  # fmt: skip
def test_layers(kind, x_shape, outputs, kernel, stride, padding, dilation, border, shares, monkeypatch):
    monkeypatch.setattr(inference_conv, "BLOCK", 200)
    monkeypatch.setattr(inference_conv, "PLACES", 1)
    monkeypatch.setattr(inference_winograd, "BUDGET", 300)
    monkeypatch.setattr(inference_winograd, "TILES", 1)
    monkeypatch.setattr(inference_strips, "BUDGET", 600)
    check_layer(kind, x_shape, outputs, kernel, stride, padding, dilation, border=border, shares=shares)


@some
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 12), st.integers(1, 12)), st.integers(1, 20),
    st.tuples(*(st.integers(1, 4),) * 2), st.tuples(*(st.integers(1, 3),) * 2), st.tuples(*(st.integers(0, 2),) * 2),
    st.sampled_from(["float32", "float64"]),
)  # fmt: skip
def test_layers_of_any_shape(x_shape, outputs, kernel, stride, padding, dtype):
    kernel = tuple(min(k, size + 2 * p) for k, size, p in zip(kernel, x_shape[2:], padding, strict=True))
    check_layer(inference_conv.Columns, x_shape, outputs, kernel, stride, padding, dtype=dtype)
    if all(size + 2 * p >= 3 for size, p in zip(x_shape[2:], padding, strict=True)):
        for kind in (inference_winograd.Winograd, inference_strips.Strips):
            check_layer(kind, x_shape, outputs, (3, 3), padding=padding, dtype=dtype)


@borders
@pytest.mark.usefixtures("small_or_whole")
@pytest.mark.parametrize("shares", [1, 2])
@pytest.mark.parametrize(("groups", "inputs", "outputs"), [(2, 2, 3), (16, 4, 4), (8, 8, 16), (3, 40, 64), (6, 1, 2)])
def test_groups(groups, inputs, outputs, border, shares, monkeypatch):
    monkeypatch.setattr(inference_conv, "PLACES", 1)
    x_shape, settings = (2, groups * inputs, 7, 6), ((2, 1), (1, 2), (1, 2))
    x, weight = normal(1, x_shape, "float32"), normal(2, (groups * outputs, inputs, 3, 2), "float32")
    bias = normal(3, (groups * outputs,), "float32")
    size = convolution_sizes(x_shape[2:], (3, 2), *settings)
    layer = Grouped(weight, bias, Geometry((3, 2), *settings, size), True, groups)
    residual = normal(4, (2, groups * outputs, *size), "float32")
    target = activation(np.zeros(residual.shape, "float32"), border)
    source, other = activation(x, layer.border.joined(border)), activation(residual, border)
    for index in range(shares):
        work = Workspace()
        layer.calls(source, target, other, work, Share(index, shares))
        run(layer.calls(source, target, other, work, Share(index, shares)))
    close(target.inner.transpose(0, 3, 1, 2), conv2d_act_forward(x, weight, bias, residual, True, *settings, groups))


def test_winograd_keeps_its_digits():
    geometry = Geometry((3, 3), (1, 1), (1, 1), (1, 1), (14, 14))
    assert inference_winograd.suits(geometry, 1, 4, 256, 256) and not inference_winograd.suits(geometry, 2, 4, 256, 256)
    check_layer(inference_winograd.Winograd, (4, 256, 14, 14), 256, (3, 3), padding=(1, 1))


# ---------------------------------------------------------------------------------------------------------- pooling


@pytest.mark.parametrize("shares", [1, 3])
@pytest.mark.parametrize("budget", [1, 1 << 17])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [
    ((3, 3), (2, 2), (1, 1), (1, 1)), ((2, 2), (2, 2), (0, 0), (1, 1)), ((3, 2), (1, 2), (1, 0), (2, 1)),
    ((1, 1), (1, 1), (0, 0), (1, 1)), ((5, 5), (3, 3), (2, 2), (1, 1)),
])  # fmt: skip
def test_max_pool(kernel, stride, padding, dilation, shares, budget, monkeypatch):
    monkeypatch.setattr(inference_pool, "BLOCK", budget)
    for shape in ((2, 3, 9, 8), (1, 2, 5, 6)):
        x = normal(1, shape, "float32") - 3
        x[0, 0, 2, 3] = np.nan
        size = pooling_sizes(shape[2:], kernel, stride, padding, dilation, False)
        source, target = (activation(a, Border(1, 0, 2, 1)) for a in (x, np.zeros((*shape[:2], *size), "float32")))
        for index in range(shares):
            geometry = Geometry(kernel, stride, padding, dilation, size)
            run(inference_pool.max_pool(source, target, geometry, Workspace(), Share(index, shares)))
        expected, _ = max_pool2d_forward(x, kernel, stride, padding, dilation, False)
        assert np.array_equal(target.inner.transpose(0, 3, 1, 2), expected, equal_nan=True)


def test_mean():
    x = normal(1, (2, 40, 7, 5), "float32")
    source, target = activation(x, Border(1, 1, 1, 1)), activation(np.zeros((2, 40, 1, 1), "float32"), Border())
    for index in range(3):
        run(inference_pool.mean(source, target, Workspace(), Share(index, 3)))
    close(target.inner.transpose(0, 3, 1, 2), adaptive_avg_pool2d_forward(x, (1, 1)))
    assert inference_pool.once("call", Share(1, 2)) == [] and inference_pool.once("call", ALONE) == ["call"]


# ------------------------------------------------------------------------------------------------------------- team


def test_a_team_is_as_many_threads():
    meeting, seen = inference_team.Meeting(3), {}

    def work(index):
        for turn in range(50):
            seen[index, turn] = threading.get_ident()
            meeting.wait(index)
            assert all((other, turn) in seen for other in range(3))
            meeting.wait(index)

    inference_team.together(3, work)
    assert len({seen[index, 0] for index in range(3)}) == 3 and seen[0, 0] == threading.get_ident()


@pytest.mark.parametrize("culprit", [0, 1, 2])
def test_a_member_that_fails_holds_nobody_up(culprit):
    for _ in range(3):
        meeting = inference_team.Meeting(3)

        def work(index, meeting=meeting):
            try:
                meeting.wait(index)
                if index == culprit:
                    raise KeyError("mine")
                meeting.wait(index)
            except BaseException:
                meeting.give_up(index)
                raise

        with pytest.raises((KeyError, RuntimeError)):
            inference_team.together(3, work)
    done = []
    inference_team.together(3, done.append)
    assert sorted(done) == [0, 1, 2]


def test_teams_of_several_threads_take_turns():
    at_work, most = [], []

    def work(index):
        at_work.append(index)
        most.append(len(at_work))
        at_work.remove(index)

    callers = [threading.Thread(target=lambda: [inference_team.together(2, work) for _ in range(20)]) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(most) == 3 * 20 * 2 and max(most) <= 2
