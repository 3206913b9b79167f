"""The fast kernels and the textbook ones train alike: 200 steps, two loss curves."""

import numpy as np
import pytest

import minires as mr
import minires.nn.functional as F
from minires import kernels, nn
from minires.models.resnet import Bottleneck, CifarResNet
from minires.nn.fused import is_expansion

STEPS, BATCH = 200, 16
NETWORKS = {
    "ResNet-8": lambda: CifarResNet(8, num_classes=4),
    "bottlenecks": lambda: nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        Bottleneck(64, 16),
        Bottleneck(64, 16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 4),
    ),
}


def loss_curve(network: str, set_name: str, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    mr.manual_seed(0)
    model = NETWORKS[network]()
    optimizer = mr.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    losses = []
    with kernels.use(set_name):
        for step in range(STEPS):
            picked = (np.arange(BATCH) + step * BATCH) % len(images)
            loss = F.cross_entropy(model(mr.tensor(images[picked])), mr.tensor(labels[picked]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return np.array(losses)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("network", NETWORKS)
def test_200_steps(network):
    draws = np.random.default_rng(0)
    labels = np.arange(128) % 4
    patterns = draws.standard_normal((4, 3, 16, 16))
    images = (patterns[labels] + draws.standard_normal((128, 3, 16, 16))).astype(np.float32)
    fast, textbook = (loss_curve(network, name, images, labels) for name in ("cpu", "reference"))
    assert textbook[-20:].mean() < 0.2 * textbook[:5].mean(), "it learns"
    np.testing.assert_allclose(fast[:10], textbook[:10], rtol=2e-4)
    assert np.abs(fast - textbook).max() < 0.01 * textbook[0], "rounding grows on the way, but the curves stay together"


def test_the_bottlenecks_use_the_one_operation():
    block = NETWORKS["bottlenecks"]()[3]
    assert is_expansion(block.conv3, block.bn3, mr.zeros(BATCH, 16, 16, 16))
