"""The stand-in for CuPy as a fixture."""

import pytest

from tests.cuda import fake_cupy, fake_streams


@pytest.fixture
def stand_in(monkeypatch):
    """Within the test `import cupy` gives tests/cuda/fake_cupy.py."""
    with fake_cupy.in_place(monkeypatch) as cupy:
        yield cupy


@pytest.fixture
def two_devices(stand_in):
    """As `stand_in`, on a machine of two GPUs."""
    fake_streams.ORDER.start(devices=2)
    return stand_in
