"""Threads in the tests of kernels: BLAS keeps to one, and a kernel may be made to believe in several."""

import pytest
import threadpoolctl

from minires.kernels.cpu import parallel


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread():
    """BLAS's own threads wait by spinning: on a busy machine that makes tiny products take a hundred times as long."""
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture
def pretend_threads(monkeypatch):
    """pretend_threads(3): kernels divide their work among three threads, however many the machine has."""

    def pretend(count):
        monkeypatch.setattr(parallel, "blas_threads", lambda: count)

    return pretend
