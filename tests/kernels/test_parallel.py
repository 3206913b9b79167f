"""Sharing work among threads: order, errors, BLAS's own threads, several callers at once, forked children."""

import multiprocessing
import sys
import threading

import numpy as np
import pytest
import threadpoolctl

from minires import kernels
from minires.kernels.cpu import buffers, parallel
from tests.kernels.helpers import normal


@pytest.fixture
def three_threads(pretend_threads):
    pretend_threads(3)


@pytest.mark.parametrize("count", range(8))
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_shares_are_unbroken_and_even(count, parts):
    shares = parallel.shares(range(count), parts)
    assert [number for share in shares for number in share] == list(range(count))
    assert len(shares) == max(1, min(parts, count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("count", [0, 1, 7, 100])
@pytest.mark.parametrize("size", [0, 1, 3, 40, 1000])
def test_ranges_cover_everything_once(count, size, three_threads):
    ranges = parallel.ranges(count, size)
    assert [number for part in ranges for number in range(count)[part]] == list(range(count))
    assert all(0 < part.stop - part.start <= max(1, size) for part in ranges)


def test_results_come_in_order_from_several_threads(three_threads):
    results = parallel.over(range(7), lambda share: (list(share), threading.current_thread().name))
    assert [numbers for numbers, _ in results] == [[0, 1], [2, 3], [4, 5, 6]]
    assert results[0][1] == threading.current_thread().name
    assert all(name.startswith("kernel") for _, name in results[1:])


def test_work_within_work_is_not_divided_again(three_threads):
    def inner(share):
        return parallel.over(range(9), lambda part: threading.current_thread().name)

    for names in parallel.over(range(3), inner):
        assert len(names) == 1


@pytest.mark.parametrize("culprit", [0, 2])
def test_an_error_of_any_thread_is_raised_after_all_have_ended(culprit, three_threads):
    ended = []

    def work(share):
        if share[0] == culprit:
            raise KeyError(f"share {share[0]}")
        ended.append(share[0])

    with pytest.raises(KeyError, match=f"share {culprit}"):
        parallel.over(range(3), work)
    assert sorted(ended) == [number for number in range(3) if number != culprit]
    assert parallel.over(range(3), list) == [[0], [1], [2]]


def blas_now():
    return max(library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas")


def test_blas_is_held_to_one_thread_meanwhile_and_gets_its_threads_back():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_now()
        seen = parallel.over(range(2), lambda share: blas_now())
        assert seen == [1] * min(2, before)
        assert parallel.over(range(1), lambda share: blas_now()) == [1], "a single block too"
        assert blas_now() == before
        with pytest.raises(ZeroDivisionError):
            parallel.over(range(2), lambda share: 1 // 0)
        assert blas_now() == before


def test_each_blas_library_gets_its_own_number_back(monkeypatch):
    class Library:
        def __init__(self, count):
            self.count = count

        def get_num_threads(self):
            return self.count

        def set_num_threads(self, count):
            self.count = count

    libraries = [Library(2), Library(4)]
    monkeypatch.setattr(parallel, "_blas", lambda: libraries)
    seen = parallel.over(range(4), lambda share: [library.count for library in libraries])
    assert seen == [[1, 1]] * 4
    assert [library.count for library in libraries] == [2, 4]


def test_a_limit_of_one_thread_is_kept():
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        names = parallel.over(range(4), lambda share: threading.current_thread().name)
    assert names == [threading.current_thread().name]


def test_several_callers_at_once_compute_the_same_bits(three_threads):
    x, weight = normal(1, (8, 16, 16, 16), "float32", "nhwc"), normal(2, (16, 16, 3, 3), "float32", "nhwc")
    settings = ((1, 1), (1, 1), (1, 1), 1)

    def step():
        y = kernels.conv2d_forward(x, weight, None, *settings)
        return y, kernels.conv2d_weight_gradient(y, x, weight.shape, *settings)

    expected, results = step(), []
    callers = [threading.Thread(target=lambda: results.extend(step() for _ in range(5))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 20
    for y, dweight in results:
        assert np.array_equal(y, expected[0])
        assert np.array_equal(dweight, expected[1])


def test_scratch_memory_belongs_to_its_thread_and_is_used_again():
    first = buffers.scratch("test", (3, 4), np.dtype("float32"))
    assert np.shares_memory(first, buffers.scratch("test", (2, 2), np.dtype("float64")))
    assert not np.shares_memory(first, buffers.scratch("other", (3, 4), np.dtype("float32")))
    others = []
    thread = threading.Thread(target=lambda: others.append(buffers.scratch("test", (3, 4), np.dtype("float32"))))
    thread.start()
    thread.join()
    assert not np.shares_memory(first, others[0])


def compute_in_child(queue):
    parallel.blas_threads = lambda: 2  # the child's copy
    queue.put(parallel.over(range(4), list))


@pytest.mark.skipif(sys.platform != "linux", reason="fork is the start method of Linux alone")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_threads_of_its_own(three_threads):
    parallel.over(range(3), list)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=compute_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=30) == [[0, 1], [2, 3]]
    child.join(30)
    assert child.exitcode == 0
