"""Every transform as a function, of pictures and of tensors, against what torchvision 0.28 answered (a file)."""

import numpy as np
import pytest

from minires.data.transforms import functional
from minires.tensor import Tensor
from tests.data.torchvision_cases import ANSWERS, answers

OURS = answers(functional, str, Tensor)


@pytest.fixture(scope="module")
def theirs():
    with np.load(ANSWERS) as found:
        return dict(found)


def test_every_case_has_an_answer(theirs):
    assert set(theirs) == set(OURS) and len(theirs) > 190


@pytest.mark.parametrize("case", sorted(OURS))
def test_pixels_are_torchvisions(theirs, case):
    expected, found = theirs[case], OURS[case]
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        return
    difference = np.abs(found.astype(int) - expected.astype(int))
    rounded = case.endswith("/bytes") or case.split("/")[0] in ("elastic", "blur", "blur_default")
    assert (
        difference.max() == 0 if not rounded else difference.max() <= 1 and (difference > 0).mean() < 0.06
    )  # ties of rounding
