"""Nothing grows with the number of steps: memory, descriptors, threads, living objects."""

import json

import pytest

from tests.faults import runs

LONG = """
import gc, json, os, sys, threading
from minires.data import ArrayDataset, DataLoader
from minires.training import HistoryFile, ModelCheckpoint
from tests.training.helpers import Noisy, make_arrays, make_trainer

steps, folder, per_epoch = int(sys.argv[1]), sys.argv[2], 50
train = DataLoader(ArrayDataset(*make_arrays(4 * per_epoch), transform=Noisy()), 4, shuffle=True, num_workers=2)
val = DataLoader(ArrayDataset(*make_arrays(9, seed=4)), 4)
trainer = make_trainer([ModelCheckpoint(folder, every_steps=25), HistoryFile(folder)], scheduler=None)

def measure():
    gc.collect()
    with open("/proc/self/statm") as stream:
        resident = int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"bytes": resident, "descriptors": len(os.listdir("/proc/self/fd")), "threads": threading.active_count(),
            "objects": len(gc.get_objects())}

found = []
for part in (1, 2, 3, 4, 5):
    trainer.fit(train, val, 10 ** 9, max_steps=steps // 5)
    found.append(measure())
assert trainer.step == steps
print(json.dumps(found))
"""
PROMISE = "memory, descriptors, threads and living objects stay as after the first fifth"
OF_AN_EPOCH = 20  # objects: the history keeps a row of each


def growth(steps: int, folder) -> dict[str, int]:
    """What has grown between the first and the last fifth of so many steps."""
    answer = runs.end(runs.script(LONG, steps, folder), limit=400)
    assert answer.status == 0, answer.err
    first, *_, last = json.loads(answer.out)
    return {name: last[name] - first[name] for name in first}


@pytest.mark.fault("500 steps of a tiny model, a checkpoint every 25, two workers (the whole: 10,000 steps)", PROMISE)
def test_five_hundred_steps(tmp_path):
    grown = growth(500, tmp_path)
    assert grown["descriptors"] == grown["threads"] == 0 and grown["objects"] < 10 * OF_AN_EPOCH, grown
    assert grown["bytes"] < 4 << 20, grown


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.fault("10,000 steps of a tiny model, a checkpoint every 25, two workers", PROMISE)
def test_ten_thousand_steps(tmp_path, record_property):
    grown = growth(10_000, tmp_path)
    record_property("figures", f"after 10,000 steps {grown['bytes'] / 2**20:+.2f} MiB, {grown['descriptors']:+} "
                    f"descriptors, {grown['threads']:+} threads")  # fmt: skip
    assert grown["descriptors"] == grown["threads"] == 0 and grown["objects"] < 200 * OF_AN_EPOCH, grown
    assert grown["bytes"] < 4 << 20, grown
