"""What a run decides by (best epoch, patience, plateau) is in its checkpoint: a resumed run decides as a whole one."""

import csv
import json

import pytest

from tests.faults import runs
from tests.faults.leaks import nothing_left

WORSE = ("--epochs", 8, "--opt", "sgd", "--lr", 0.2, "--warmup-epochs", 0, "--sched", "plateau", "--decay-epochs", 1,
         "--patience", 3)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run whose first epoch is its best: the plateau lowers the rate, then early stopping ends it."""
    found = runs.Place(tmp_path_factory.mktemp("decisions") / "place", *WORSE)
    found.whole()
    rows = list(csv.DictReader((found.folder / "whole" / "history.csv").read_text().splitlines()))
    losses = [float(row["val_loss"]) for row in rows]
    assert losses[0] == min(losses) and len(rows) == 4 < 8, "otherwise this is the wrong run to try it with"
    assert float(rows[-1]["lr"]) < float(rows[0]["lr"])
    return found


@pytest.mark.fault(
    "a pause after every step, or every epoch; after it the epochs are worse",
    "the best model stays, patience and plateau count on, the history has one header and each epoch once",
)
@pytest.mark.parametrize("steps", [1, runs.STEPS])
def test_paused_again_and_again(place, steps, record_property):
    output = place.folder / f"every-{steps}"
    words = place.words(output, "--resume", "auto", "--max-steps", steps)
    best, calls = None, 0
    while True:
        with nothing_left(output):
            answer = runs.check(runs.here(words), 0)
        calls += 1
        rows = list(csv.reader((output / "history.csv").read_text().splitlines()))
        if any(rows):  # else no epoch is finished yet
            assert [row[0] for row in rows] == ["epoch", *(str(number) for number in range(1, len(rows)))]
            weights = (output / "model" / "model.safetensors").read_bytes()
            best = best or weights
            assert weights == best, "the model is the best one, whatever came after it"
        if not answer.out.startswith("paused:"):
            break
    assert json.loads((output / "metrics.json").read_text())["best_epoch"] == 1
    assert json.loads((output / "metrics.json").read_text())["status"] == "early-stopped"
    runs.assert_equal(output, place.whole())
    record_property("figures", f"{calls - 1} pauses")
    assert calls >= 4
