"""It learns: real networks that fit a few pictures completely."""

import numpy as np

from minires import models, nn, optim, random
from minires.data import ArrayDataset, DataLoader
from minires.training import Callback, Trainer


class StopWhenPerfect(Callback):
    def after_epoch(self, trainer):
        if trainer.history.rows[-1]["val_accuracy"] == 1.0:
            trainer.stop("every picture is right")


def overfit(depth: int, samples: int, size: int, classes: int, epochs: int) -> Trainer:
    """Train on pictures of noise with labels of chance: only memory helps."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((samples, 3, size, size)).astype(np.float32)
    dataset = ArrayDataset(images, np.arange(samples) % classes)
    with random.address(0, "model"):
        model = models.create("cifar_resnet", depth=depth, num_classes=classes)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), metrics=["accuracy"], callbacks=[StopWhenPerfect()],
                      progress=False)  # fmt: skip
    trainer.fit(DataLoader(dataset, 32, shuffle=True), DataLoader(dataset, 64), epochs=epochs)
    return trainer


def test_a_small_resnet_learns_pictures_by_heart():
    trainer = overfit(depth=8, samples=32, size=8, classes=4, epochs=60)
    assert trainer.stop_reason, trainer.history["val_accuracy"]


def test_a_resnet20_learns_128_pictures_by_heart():
    trainer = overfit(depth=20, samples=128, size=32, classes=10, epochs=80)
    assert trainer.stop_reason, trainer.history["val_accuracy"]
    assert trainer.evaluation["accuracy"] == 1.0
