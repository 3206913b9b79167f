"""One row an epoch; the best value of a figure; patience."""

import math

import pytest

from minires.errors import UsageError
from minires.training import EarlyStopping, History, Monitor


def test_a_second_row_of_an_epoch_is_an_error():
    history = History([{"epoch": 1, "loss": 0.5}])
    history.append({"epoch": 2, "loss": 0.25, "val_loss": math.nan})
    with pytest.raises(ValueError, match="has a row for epoch 2"):
        history.append({"epoch": 2, "loss": 0.1})
    assert history.columns() == ["epoch", "loss", "val_loss"] and history["val_loss"][0] is None
    assert history.to_csv() == "epoch,loss,val_loss\n1,0.5,\n2,0.25,nan\n"
    with pytest.raises(KeyError, match="no column 'acc'"):
        history["acc"]
    again = History()
    again.load_state_dict(history.state_dict())
    assert again.to_csv() == history.to_csv() and len(again) == 2 and "loss" in again


@pytest.mark.parametrize(
    ("name", "values", "improvements"),
    [
        ("val_loss", [1.0, 2.0, 0.5, 0.5], [True, False, True, False]),
        ("val_accuracy", [0.1, 0.3, 0.2], [True, True, False]),
        ("loss", [math.nan, math.inf, -math.inf, 3.0, math.nan], [False, False, False, True, False]),
        ("top5", [math.inf, 0.2], [False, True]),
    ],
)
def test_best(name, values, improvements):
    monitor = Monitor(name)
    assert [monitor.improves(value) for value in values] == improvements
    assert monitor.best is not None and math.isfinite(monitor.best)


def test_min_delta_and_mode():
    monitor = Monitor("val_loss", min_delta=0.1)
    assert [monitor.improves(value) for value in (1.0, 0.95, 0.89, 0.8)] == [True, False, True, False]
    assert Monitor("beauty", mode="max").improves(-3)
    with pytest.raises(UsageError, match="give mode="):
        Monitor("beauty")
    with pytest.raises(UsageError, match=r"no figure 'val_acc'.*epoch, loss"):
        Monitor("val_acc").require(["epoch", "loss"])
    for wrong in ({"mode": "less"}, {"min_delta": -1}):
        with pytest.raises(ValueError, match=r"mode|min_delta"):
            Monitor("loss", **wrong)


class Stub:
    """As much of a trainer as early stopping looks at."""

    val_interval = 1

    def __init__(self):
        self.history, self.epoch, self.reason = History(), 0, None

    def stop(self, reason):
        self.reason = reason

    def run(self, callback, values):
        for value in values:
            self.epoch += 1
            self.history.append({"epoch": self.epoch, "val_loss": value})
            callback.after_epoch(self)
            if self.reason:
                break


@pytest.mark.parametrize(
    ("values", "stops_after"),
    [
        ([3.0, 2.0, 2.5, 2.0, 9.0], 4),
        ([3.0, math.nan, math.nan, 1.0], 3),
        ([math.nan, math.nan, 1.0], 2),  # nothing finite at all
        ([3.0, 4.0, 2.0, 3.0, 1.0, 2.0], None),
    ],
)
def test_patience(values, stops_after):
    stub, stopping = Stub(), EarlyStopping(patience=2, restore_best_weights=False)
    stub.run(stopping, values)
    assert (stub.epoch if stub.reason else None) == stops_after


def test_patience_survives_and_none_never_stops():
    first, second = (EarlyStopping(patience=3, restore_best_weights=False) for _ in range(2))
    stub = Stub()
    stub.run(first, [1.0, 2.0, 2.0])
    second.load_state_dict(first.state_dict())
    stub.run(second, [2.0])
    assert stub.reason and "best 1 at epoch 1" in stub.reason
    patient = Stub()
    patient.run(EarlyStopping(patience=None, restore_best_weights=False), [1.0] + [2.0] * 50)
    assert patient.reason is None
    with pytest.raises(ValueError, match="patience"):
        EarlyStopping(patience=0)
