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


@pytest.mark.parametrize("size", [None, 4])
def test_sam_in_a_trainer_is_its_loop_by_hand(size):
    """Dropout draws the same twice, batch norm's running statistics and the figures are those of the first pass."""

    def make():
        with mr.random.address(3, "model"):
            return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.4), nn.Linear(8, 3)).double()

    def sam(model):
        return optim.SAM(model.parameters(), optim.SGD, rho=0.3, lr=0.2, momentum=0.9)

    model, loss_fn = make(), nn.CrossEntropyLoss()
    trainer = Trainer(model, sam(model), loss_fn, clip_grad=0.5, micro_batch_size=size, seed=7, progress=False)
    trainer.fit(loader(), epochs=1)
    other = make().train()
    optimizer, losses = sam(other), []
    for step, (inputs, targets) in enumerate(loader()):
        parts = cut(inputs, targets, size)

        def gradients(parts=parts, step=step):
            optimizer.zero_grad()
            total = 0.0
            for part in parts:
                with mr.random.address(7, "step", step, part.number):
                    loss = loss_fn(other(part.inputs), part.targets) * part.share
                loss.backward()
                total += loss.item()
            return total

        losses.append((gradients(), len(inputs)))
        learnt = {name: buffer.array.copy() for name, buffer in other.named_buffers()}
        optimizer.first_step()
        gradients()
        for name, buffer in other.named_buffers():
            buffer.array[...] = learnt[name]
        nn.utils.clip_grad_norm_(list(other.parameters()), 0.5)
        optimizer.second_step()
    expected = {name: tensor.array for name, tensor in other.state_dict().items()}
    for name, tensor in model.state_dict().items():
        np.testing.assert_allclose(tensor.array, expected[name], rtol=1e-12, atol=1e-14, err_msg=name)
    mean = sum(loss * count for loss, count in losses) / 23
    assert trainer.history.rows[0]["loss"] == pytest.approx(mean, rel=1e-12)
    assert trainer.step == len(losses) == optimizer.steps_seen


def test_sam_stands_at_the_weights_again_when_the_second_pass_fails():
    trainer = trainer_of(4)
    trainer.optimizer = optim.SAM(trainer.model.parameters(), optim.SGD, rho=0.3, lr=0.2)
    calls, plain = [], trainer.loss_fn

    def fails(outputs, targets):
        calls.append(1)
        if len(calls) == 5:  # the second part of the second pass: three parts a batch
            raise MemoryError
        return plain(outputs, targets)

    trainer.loss_fn = fails
    before = weights(trainer)
    with pytest.raises(MemoryError):
        trainer.fit(loader(), epochs=1)
    assert trainer.consistent and all(np.array_equal(weights(trainer)[name], array) for name, array in before.items())
    trainer.optimizer.load_state_dict(trainer.optimizer.state_dict())
    trainer.loss_fn = plain
    trainer.fit(loader(), epochs=1)
    assert trainer.optimizer.steps_seen == 3
    with pytest.raises(ValueError, match="SAM does not go with amp float16"):
        Trainer(trainer.model, trainer.optimizer, plain, amp="float16")


def test_validation_every_other_epoch():
    trainer = trainer_of(None)
    trainer.fit(loader(), loader(9, 4), epochs=5, val_interval=2)
    assert [value is not None for value in trainer.history["val_loss"]] == [False, True, False, True, True]
    with pytest.raises(ValueError, match="val_interval"):
        trainer.fit(loader(), epochs=6, val_interval=0)
    with pytest.raises(ValueError, match="micro_batch_size"):
        trainer_of(0)
