"""Regression: labels in units of their spread, and the figures of an evaluation."""

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.errors import DataError
from minires.finetune.inference import forward
from minires.finetune.targets import TargetScale
from minires.finetune.tasks.regression import regression_figures


def test_equal_labels_are_left_in_their_units():
    """The mean of three times 0.1 is not 0.1 after rounding, so that their deviation is 1e-17."""
    scale = TargetScale.of([(0.1, 1.0), (0.1, 2.0), (0.1, 3.0)])
    assert scale.deviation.tolist() == pytest.approx([1.0, (2 / 3) ** 0.5])
    assert scale.encode((0.2, 2.0)) == pytest.approx((0.1, 0.0))


def test_r2_of_equal_targets_is_none():
    figures = regression_figures(np.full((3, 1), 0.2, np.float32), np.full((3, 1), 0.1, np.float32))
    assert figures["r2"] is None and figures["mae"] == pytest.approx(0.1)
    assert regression_figures(np.array([[1.0], [2.0]]), np.array([[1.0], [2.0]]))["r2"] == 1.0


def test_labels_of_another_length_are_no_targets():
    with pytest.raises(DataError, match="gives 1 numbers a picture, a label has 2"):
        regression_figures(np.zeros((3, 1)), np.zeros((3, 2)))


def test_forward_gives_every_module_its_own_mode_back():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)).train()
    model[1].eval()
    images = mr.ones(1, 3, 2, 2)
    assert np.allclose(forward(model, images), 1, atol=1e-4)
    assert [module.training for module in model.modules()] == [True, True, False]
