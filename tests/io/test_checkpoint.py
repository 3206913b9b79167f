import json
import os
import subprocess
import sys

import numpy as np
import pytest

from minires.errors import FileFormatError
from minires.io import checkpoint, files, safetensors, strict_json
from minires.io.run_folder import RunFolder
from tests.io.crash_states import every_state
from tests.io.faults import CALLS, ERRORS, NEEDS_SPACE, Faulty, Recording

pytestmark = pytest.mark.timeout(60)


def tensors_of(step: int) -> dict[str, np.ndarray]:
    weight = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(0, 2, 1) + step
    return {"model.weight": weight, "count": np.array(step), "empty": np.zeros((0, 2))}


def state_of(step: int) -> dict:
    return {"step": step, "best": float("-inf"), "loss": float("nan"), "name": "é\ud800", "patience": {"left": 3}}


def assert_is(found: checkpoint.Checkpoint | None, step: int) -> None:
    assert found is not None
    assert found.tensors.keys() == tensors_of(step).keys()
    for name, array in tensors_of(step).items():
        assert found.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(found.tensors[name], array)
    assert strict_json.dumps(found.state) == strict_json.dumps(state_of(step))


def write(folder, step: int) -> str:
    path = os.path.join(folder, checkpoint.file_name(step))
    checkpoint.save(path, tensors_of(step), state_of(step))
    return path


def write_run(run: RunFolder, step: int) -> None:
    run.save_checkpoint(step, tensors_of(step), state_of(step), keep=1)


def test_round_trip(tmp_path):
    path = write(tmp_path, 7)
    assert os.path.basename(path) == "step-00000007.safetensors"
    assert checkpoint.step_of(path) == 7
    assert_is(checkpoint.Checkpoint(path, *checkpoint.load(path)), 7)
    first = files.read_bytes(path)
    assert files.read_bytes(write(tmp_path, 7)) == first, "equal content gives equal bytes"
    assert "model.weight" in safetensors.load_file(path), "other programs can read it"


@pytest.mark.parametrize("value", [
    None, True, 0, -5, 10**30, 0.1, 1e-320, float("inf"), -float("inf"), "", "\ud800é\"\\\0", [], [1, [2.5]],
    (), (1, "a", [()]),
    {}, {"a": {"b": None}}, {0: {"step": 1}, 1: "x"}, {"$float": "nan"}, {"$tuple": 1, "x": 2}, {(1, 2): float("inf")},
    {None: 1, True: 2}, {"$pairs": []}, {"mixed": 1, 2: 3},
])  # fmt: skip
def test_state_comes_back_as_it_was(value):
    text = strict_json.dumps({"v": value})
    assert "NaN" not in text and "Infinity" not in text
    found = strict_json.loads(text)["v"]
    assert found == value and type(found) is type(value)
    assert repr(found) == repr(value)


def test_numbers_of_numpy_become_python_s():
    found = strict_json.loads(strict_json.dumps([np.float32(0.1), np.int64(3), np.bool_(True), np.float64("nan")]))
    assert found[:3] == [float(np.float32(0.1)), 3, True] and np.isnan(found[3])


def test_state_that_json_cannot_hold_is_named(tmp_path):
    for value in (np.zeros(2), {1}, object(), b"x"):
        with pytest.raises(TypeError, match=r"state\['optimizer'\]\[0\]\['buffer'\] is of type"):
            checkpoint.save(tmp_path / "a", {}, {"optimizer": [{"buffer": value}]})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"a": Infinity}', '{"$float": "1"}', '{"$other": 1}', "[" * 100_000])
def test_malformed_state_is_refused(text):
    with pytest.raises(ValueError):
        strict_json.loads(text)


def test_report_has_null_for_what_is_not_finite():
    text = strict_json.report({"loss": float("nan"), "classes": {"a": [1.0, np.float32("inf")]}, "n": np.int64(3)})
    found = json.loads(text, parse_constant=pytest.fail)
    assert found == {"loss": None, "classes": {"a": [1.0, None]}, "n": 3, "not_finite": ["loss", "classes.a.1"]}


# ----------------------------------------------------------------------------------------------------------- damage


@pytest.mark.fault("a small checkpoint cut at every length", "the previous one is used, with a warning")
def test_truncation_is_found_and_the_previous_one_is_used(tmp_path):
    write(tmp_path, 1)
    path = write(tmp_path, 2)
    whole = files.read_bytes(path)
    for length in [*range(64), *range(64, len(whole), 37), len(whole) - 1]:
        files.write_atomic(path, whole[:length])
        warnings: list[str] = []
        assert_is(checkpoint.newest_valid(tmp_path, warnings.append), 1)
        assert len(warnings) == 1 and path in warnings[0]


@pytest.mark.fault(
    "one bit flipped in each byte of a small checkpoint",
    "the checksum or the format finds it and names the file",
)
def test_a_flipped_bit_anywhere_is_found(tmp_path):
    write(tmp_path, 1)
    path = write(tmp_path, 2)
    whole = files.read_bytes(path)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        with pytest.raises(FileFormatError, match="step-00000002"):
            checkpoint.from_bytes(bytes(damaged), path)
    files.write_atomic(path, damaged)
    with pytest.warns(UserWarning, match="step-00000002"):
        assert_is(checkpoint.newest_valid(tmp_path), 1)


def test_if_all_are_damaged_nothing_starts_over(tmp_path):
    assert checkpoint.newest_valid(tmp_path / "none") is None
    assert checkpoint.newest_valid(tmp_path) is None
    for step in (1, 2):
        path = write(tmp_path, step)
        files.write_atomic(path, files.read_bytes(path)[:-1])
    before = {name: files.read_bytes(tmp_path / name) for name in os.listdir(tmp_path)}
    warnings: list[str] = []
    with pytest.raises(FileFormatError, match="none of the 2 checkpoints"):
        checkpoint.newest_valid(tmp_path, warnings.append)
    assert len(warnings) == 2
    assert before == {name: files.read_bytes(tmp_path / name) for name in os.listdir(tmp_path)}


def test_a_later_format_is_refused_by_name(tmp_path, monkeypatch):
    write(tmp_path, 1)
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 2)
    monkeypatch.setattr(checkpoint, "__version__", "9.9")
    path = write(tmp_path, 2)
    monkeypatch.undo()
    for read in (lambda: checkpoint.load(path), lambda: checkpoint.newest_valid(tmp_path)):
        with pytest.raises(checkpoint.FutureFormatError, match=r"format 2 of minires 9\.9; this is minires") as caught:
            read()
        assert caught.value.hint


def test_other_safetensors_files_are_no_checkpoints(tmp_path):
    safetensors.save_file(tensors_of(1), tmp_path / "a.safetensors")
    with pytest.raises(FileFormatError, match="not a checkpoint"):
        checkpoint.load(tmp_path / "a.safetensors")
    for record in ("x", "[]", "{}", '{"format_version": 1}'):
        data = safetensors.to_bytes({}, {"minires_checkpoint": record})
        with pytest.raises(FileFormatError, match="damaged"):
            checkpoint.from_bytes(data, "a")


def test_order_is_by_number_and_foreign_names_are_left_alone(tmp_path):
    for step in (2, 100_000_000, 99_999_999):
        write(tmp_path, step)
    files.write_atomic(tmp_path / "step-5.safetensors", b"")
    files.write_atomic(tmp_path / "notes.txt", b"")
    assert [checkpoint.step_of(path) for path in checkpoint.list_checkpoints(tmp_path)] == [100_000_000, 99_999_999, 2]
    assert checkpoint.prune(tmp_path, keep=1)[0].endswith("step-99999999.safetensors")
    assert sorted(os.listdir(tmp_path)) == ["notes.txt", "step-100000000.safetensors", "step-5.safetensors"]
    with pytest.raises(ValueError, match="step-5"):
        checkpoint.step_of("step-5.safetensors")


def test_prune_counts_only_intact_ones(tmp_path):
    paths = {step: write(tmp_path, step) for step in (1, 2, 3, 4)}
    files.write_atomic(paths[3], files.read_bytes(paths[3])[:-1])
    assert checkpoint.prune(tmp_path, keep=2) == [paths[1]]
    assert_is(checkpoint.newest_valid(tmp_path), 4)
    with pytest.raises(ValueError, match="keep"):
        checkpoint.prune(tmp_path, keep=0)


# ----------------------------------------------------------------------------------------------------------- faults


@pytest.mark.fault(
    "ENOSPC, EDQUOT, EIO, once or for good, at every call of a save",
    "the error names the file and the bytes; the old checkpoint is intact, nothing is left over",
)
@pytest.mark.parametrize("sticky", [False, True], ids=["once", "sticky"])
@pytest.mark.parametrize("name", ERRORS)
def test_a_fault_at_every_call_of_a_save(tmp_path, name, sticky):
    calls = CALLS if name == "EIO" else NEEDS_SPACE
    for at in range(1, 200):
        folder = tmp_path / str(at)
        with RunFolder.create(folder) as run:
            run.save_checkpoint(1, tensors_of(1), state_of(1), keep=1)
            before = os.listdir("/proc/self/fd")
            error = None
            with files.use(Faulty(ERRORS[name], at, sticky, calls)) as system:
                try:
                    run.save_checkpoint(2, tensors_of(2), state_of(2), keep=1)
                except files.FileAccessError as caught:
                    error = caught
            assert os.listdir("/proc/self/fd") == before
            assert not [file for file in os.listdir(run.checkpoints) if file.endswith(".tmp")]
            saved = "replace" in system.names and os.path.exists(os.path.join(run.checkpoints, checkpoint.file_name(2)))
            assert_is(run.newest_checkpoint(pytest.fail), 2 if saved else 1)
            if not system.fired:
                break
            if error is None:  # a fault while old checkpoints are verified costs nothing: they are kept
                assert saved
            else:
                assert str(folder) in str(error) and "\n" not in str(error)
                assert saved or "bytes needed" in str(error)
            run.save_checkpoint(3, tensors_of(3), state_of(3), keep=1)  # the process can go on
            assert_is(run.newest_checkpoint(pytest.fail), 3)
    assert error is None and at > 5
    assert os.listdir(run.checkpoints) == [checkpoint.file_name(2)]


def crash_violations(folder, system) -> set[str]:
    """Save step 2 beside step 1 and look at every state after a power cut."""
    first = write(folder, 1)
    with files.use(system):
        second = write(folder, 2)
    found = set()
    for returned, state in every_state(system.log, {first: files.read_bytes(first)}):
        names = [name for name in (second, first) if name in state]
        steps = []
        for name in names:
            try:
                steps.append(checkpoint.from_bytes(state[name], name)[1]["step"])
            except FileFormatError:
                found.add("unreadable newest file")
        if returned and 2 not in steps:
            found.add("lost")
        if not steps:
            found.add("nothing left")
    return found


class NoFsync(Recording):
    def fsync(self, descriptor):
        pass


@pytest.mark.fault(
    "a power cut at any call of a save: whatever was not flushed is lost, in every combination",
    "a loader finds the old or the new checkpoint, whole",
)
def test_every_state_after_a_power_cut_has_a_checkpoint(tmp_path):
    assert crash_violations(tmp_path, Recording()) == set()


@pytest.mark.fault("the same with fsync taken out of the code", "the check turns red")
def test_a_missing_fsync_is_found(tmp_path):
    assert crash_violations(tmp_path, NoFsync()) == {"unreadable newest file", "lost"}


KILLED_SAVES = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from minires.io import files
from minires.io.run_folder import RunFolder
from tests.io.faults import Counting, Killing
from tests.io.test_checkpoint import assert_is, state_of, tensors_of

def save(run, step):
    run.save_checkpoint(step, tensors_of(step), state_of(step), keep=1)

def refuse(message):
    raise AssertionError(message)

with RunFolder.create(os.path.join(sys.argv[2], "counted")) as run:
    save(run, 1)
    with files.use(Counting()) as system:
        save(run, 2)
    calls = len(system.names)

for at in range(1, calls + 1):
    folder = os.path.join(sys.argv[2], str(at))
    child = os.fork()
    if child == 0:
        run = RunFolder.create(folder)
        run.write_args({"at": at})
        save(run, 1)
        with files.use(Killing(at)):
            save(run, 2)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (at, status)
    with RunFolder.resume(folder) as run:
        assert f"pid {child} " in run.left_by
        found = run.newest_checkpoint(refuse)
        assert_is(found, found.state["step"])
        assert [name for name in os.listdir(run.checkpoints) if name.endswith(".tmp")] == []
        save(run, 3)
        assert_is(run.newest_checkpoint(refuse), 3)
        assert os.listdir(run.checkpoints) == ["step-00000003.safetensors"]
    print(at, system.names[at - 1], found.state["step"])
"""


@pytest.mark.fault(
    "SIGKILL at every call of a save",
    "the newest checkpoint is whole, the lock is free, nothing is left over",
)
def test_sigkill_at_every_call_of_a_save(tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", KILLED_SAVES, root, str(tmp_path)],
        capture_output=True, text=True, env=environment, check=False, timeout=50,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    rows = [line.split() for line in answer.stdout.splitlines()]
    assert [step for _, name, step in rows if name == "write"] == ["1"]
    assert {step for *_, step in rows} == {"1", "2"} and len(rows) > 8
