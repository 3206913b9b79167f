"""A batch in parts: gradients and figures of the whole, the same bits each time, errors that name the place."""

import numpy as np
import pytest

import minires as mr
from minires import nn, optim
from minires.training import NotFiniteError, Trainer
from minires.training.step import cut


def trainer_of(size, reduction="mean", dropout=0.0, lr=0.1):
    with mr.random.address(3, "model"):
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3)).double()
    loss = nn.CrossEntropyLoss(reduction=reduction)
    return Trainer(model, optim.SGD(model.parameters(), lr=lr, momentum=0.9), loss, metrics=["accuracy"], seed=7,
                   progress=False, micro_batch_size=size, clip_grad=0.5)  # fmt: skip


def loader(samples=23, batch_size=10):
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(samples, 5)), rng.integers(0, 3, samples)
    return [(mr.tensor(inputs[i : i + batch_size]), mr.tensor(targets[i : i + batch_size]))
            for i in range(0, samples, batch_size)]  # fmt: skip


def weights(trainer):
    return {name: parameter.array.copy() for name, parameter in trainer.model.named_parameters()}


@pytest.mark.parametrize("size", [1, 3, 4, 9, 10, 99])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_parts_come_to_the_whole(size, reduction):
    whole, parts = trainer_of(None, reduction), trainer_of(size, reduction)
    whole.fit(loader(), epochs=3)
    parts.fit(loader(), epochs=3)
    for name, array in weights(whole).items():
        np.testing.assert_allclose(weights(parts)[name], array, rtol=1e-9, atol=1e-12)
    for one, other in zip(whole.history, parts.history, strict=True):
        assert one["accuracy"] == other["accuracy"] and one["loss"] == pytest.approx(other["loss"], rel=1e-9)
    if size >= 10:
        assert all(np.array_equal(weights(parts)[name], array) for name, array in weights(whole).items())


def test_each_part_draws_numbers_of_its_own_and_the_same_ones_again():
    runs = [trainer_of(5, dropout=0.5) for _ in range(2)]
    for trainer in runs:
        trainer.fit(loader(), epochs=2)
    assert all(np.array_equal(weights(runs[1])[name], array) for name, array in weights(runs[0]).items())
    seen = []
    trainer = trainer_of(2, dropout=0.5)
    trainer.model[2].register_forward_hook(lambda module, inputs, output: seen.append(output.array == 0))
    trainer.fit(loader(4, 4), epochs=1)
    assert len(seen) == 2 and not np.array_equal(*seen)


@pytest.mark.parametrize(
    ("total", "size", "lengths"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (5, 4, [5]), (8, 4, [4, 4]), (3, 1, [1, 1, 1]), (3, None, [3]), (3, 7, [3])],
)
def test_no_single_sample_is_left_over(total, size, lengths):
    inputs, targets = mr.zeros(total, 2), mr.zeros(total)
    parts = cut(inputs, targets, size)
    assert [len(part.inputs) for part in parts] == lengths == [len(part.targets) for part in parts]
    assert sum(part.share for part in parts) == pytest.approx(1) and [part.number for part in parts] == [
        *range(len(parts))
    ]
    assert all(part.share == 1 for part in cut(inputs, targets, size, is_sum=True))


@pytest.mark.parametrize("row", [0, 7])
def test_a_number_that_is_not_finite_in_any_part(row):
    batches = loader()
    batches[1][0].array[row, 2] = np.inf
    trainer = trainer_of(4)
    with pytest.raises(NotFiniteError, match="step 2") as caught:
        trainer.fit(batches, epochs=1)
    assert caught.value.place == "the inputs of the batch" and trainer.consistent
    good = trainer_of(4)
    good.fit(loader(), epochs=1, max_steps=1)
    assert all(np.array_equal(weights(trainer)[name], array) for name, array in weights(good).items())
    assert trainer.sums.state_dict() == good.sums.state_dict(), "the figures of the first part are taken out again"


def test_validation_every_other_epoch():
    trainer = trainer_of(None)
    trainer.fit(loader(), loader(9, 4), epochs=5, val_interval=2)
    assert [value is not None for value in trainer.history["val_loss"]] == [False, True, False, True, True]
    with pytest.raises(ValueError, match="val_interval"):
        trainer.fit(loader(), epochs=6, val_interval=0)
    with pytest.raises(ValueError, match="micro_batch_size"):
        trainer_of(0)
