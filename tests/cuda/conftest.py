"""The stand-in for CuPy as a fixture."""

import pytest

from tests.cuda import fake_cupy


@pytest.fixture
def stand_in(monkeypatch):
    """Within the test `import cupy` gives tests/cuda/fake_cupy.py."""
    with fake_cupy.in_place(monkeypatch) as cupy:
        yield cupy
