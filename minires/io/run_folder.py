"""The folder of one run: its arguments, its history, its checkpoints and the model that leaves the house.

    runs/finetune-resnet50-3/
      args.toml  env.json  data.json  splits.csv  log.txt  history.csv  events.jsonl  metrics.json
      checkpoints/step-00001230.safetensors  model/  plots/  .lock  (tensorboard/  rehearsal/)

One process at a time holds a run folder (`.lock`). Nothing outside it is written.
"""

import contextlib
import csv
import io
import itertools
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from minires.errors import FileFormatError, UsageError
from minires.io import checkpoint, files, strict_json, toml
from minires.io.lock import FolderLock

_OWN_FILES = ("args.toml", "env.json", "data.json", "splits.csv", "log.txt", "history.csv", "events.jsonl",
              "metrics.json", "predictions_val.csv", "predictions_test.csv", "report.html", "review.csv")  # fmt: skip
_OWN_FOLDERS = ("checkpoints", "model", "plots")
_FURTHER_FOLDERS = ("tensorboard", "rehearsal")  # that not every run has
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class RunFolder:
    """An open, locked run folder; made by `RunFolder.create` or `RunFolder.resume`. Use it in a `with` block.

    `path`: the folder. `checkpoints`, `model`, `plots`: paths of its folders. `left_by`: the process that died holding
    it, or None.
    """

    def __init__(self, path: files.PathLike) -> None:
        """Lock an existing folder. UsageError naming process and host if another process has it."""
        self.path = os.fspath(path)
        self._lock = FolderLock(self.file(".lock"))
        self.left_by = self._lock.left_by
        self.checkpoints, self.model, self.plots = (self.file(name) for name in _OWN_FOLDERS)
        try:
            for folder in (self.path, self.checkpoints, self.model, self.plots):
                files.remove_leftovers(folder)
        except BaseException:
            with contextlib.suppress(files.FileAccessError):  # the first error is the one to report
                self.close()
            raise

    # ------------------------------------------------------------------------------------------ opening and closing

    @classmethod
    def create(
        cls, path: files.PathLike | None = None, name: str = "run", base: files.PathLike = "runs",
        overwrite: bool = False,
    ) -> "RunFolder":  # fmt: skip
        """A new run's folder: exactly `path`, or the first free `base`/`name`-N (N = 1, 2, ...).

        UsageError (code "run.not_empty") if `path` holds anything, unless `overwrite`: then what a run writes is
        removed, and nothing else; a folder that no run was in is refused.
        """
        if path is None:
            return cls(_make_numbered(base, name))
        _refuse_if_used(path, overwrite)
        files.make_folder(path)
        folder = cls(path)
        try:
            _refuse_if_used(path, overwrite)  # another process may have been faster with the lock
            if overwrite:
                folder._clear()
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def resume(cls, path: files.PathLike) -> "RunFolder":
        """The folder of a run that is to go on. UsageError (code "run.missing") if it is none."""
        require_settings(os.fspath(path))
        return cls(path)

    def close(self) -> None:
        """Let other processes have the folder."""
        self._lock.release()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def file(self, *names: str) -> str:
        """Path of a file in the folder."""
        return os.path.join(self.path, *names)

    def _clear(self) -> None:
        for name in _OWN_FILES:
            files.remove(self.file(name), missing_ok=True)
        for folder in (self.file(name) for name in (*_OWN_FOLDERS, *_FURTHER_FOLDERS)):
            for name in files.list_folder(folder) if os.path.isdir(folder) else ():
                if os.path.isfile(os.path.join(folder, name)):
                    files.remove(os.path.join(folder, name))

    # ------------------------------------------------------------------------------------------- what describes a run

    def write_args(self, arguments: Mapping[str, Any], remarks: Sequence[str] = ()) -> None:
        """args.toml: the effective arguments. None values are left out. remarks: lines of comment before them."""
        comments = "".join(f"# {line}\n" for line in remarks)
        files.write_atomic(self.file("args.toml"), comments + toml.dumps(arguments))

    def read_args(self) -> dict[str, Any]:
        """The arguments of the run."""
        return toml.load_file(self.file("args.toml"))

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """env.json, data.json, metrics.json: strict JSON; numbers that are not finite become null and are listed."""
        files.write_atomic(self.file(name), strict_json.report(value))

    def read_json(self, name: str) -> dict[str, Any]:
        """What `write_json` wrote. Raises FileFormatError."""
        try:
            return json.loads(files.read_text(self.file(name)))
        except (ValueError, RecursionError) as error:
            raise FileFormatError(self.file(name), None, f"not valid JSON: {error}") from error

    def write_text(self, name: str, text: str) -> None:
        """Any other text file of the run: splits.csv, report.html."""
        files.write_atomic(self.file(name), text)

    # ----------------------------------------------------------------------------------------------- what happened

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """history.csv, the whole of it: one header, one row an epoch; a missing value is an empty cell."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
        files.write_atomic(self.file("history.csv"), text.getvalue())

    def read_history(self) -> list[dict[str, Any]]:
        """The rows of history.csv, numbers as numbers and empty cells as None; [] if there is none yet."""
        if not os.path.exists(self.file("history.csv")):
            return []
        rows = csv.DictReader(io.StringIO(files.read_text(self.file("history.csv")), newline=""), strict=True)
        try:
            return [{key: _number(cell) for key, cell in row.items()} for row in rows]
        except (csv.Error, TypeError) as error:
            raise FileFormatError(self.file("history.csv"), None, f"line {rows.line_num}: {error}") from error

    def truncate_history(self, last_epoch: int) -> list[dict[str, Any]]:
        """Drop the rows after `last_epoch` (column "epoch"), which a resumed run will write again; returns the rest."""
        rows = self.read_history()
        kept = [row for row in rows if row["epoch"] <= last_epoch]
        if len(kept) < len(rows):
            self.write_history(kept)
        return kept

    def event(self, kind: str, **details: Any) -> None:
        """One line in events.jsonl: time (UTC), kind (resume, skip, nan, ...) and details, as strict JSON."""
        text = strict_json.report({"time": _now(), "event": kind, **details})
        files.append_line(self.file("events.jsonl"), json.dumps(json.loads(text)))

    def read_events(self) -> list[dict[str, Any]]:
        """The events so far. A line that a kill left torn is left out."""
        if not os.path.exists(self.file("events.jsonl")):
            return []
        return [found for line in files.read_text(self.file("events.jsonl")).splitlines() if (found := _event(line))]

    def log(self, text: str) -> None:
        """log.txt: each line of `text` with the time (UTC) and without terminal codes."""
        for line in _ESCAPES.sub("", text).replace("\r", "\n").split("\n"):
            if line:
                files.append_line(self.file("log.txt"), f"{_now()} {line}")

    # ----------------------------------------------------------------------------------------------- checkpoints

    def save_checkpoint(
        self, step: int, tensors: Mapping[str, np.ndarray], state: dict[str, Any], keep: int = 2
    ) -> str:
        """Write the checkpoint of `step`, then remove all but the `keep` newest intact ones; returns its path."""
        files.make_folder(self.checkpoints)
        path = os.path.join(self.checkpoints, checkpoint.file_name(step))
        checkpoint.save(path, tensors, state)
        checkpoint.prune(self.checkpoints, keep)
        return path

    def newest_checkpoint(self, warn: Callable[[str], None] | None = None) -> checkpoint.Checkpoint | None:
        """The newest intact checkpoint, None if none was written yet.

        Damaged ones are reported to `warn` (default: a warning, a line in the log and one in events.jsonl).
        """
        return checkpoint.newest_valid(self.checkpoints, warn or self._warn)

    def _warn(self, message: str) -> None:
        self.log(f"warning: {message}")
        self.event("checkpoint_passed_over", message=message)
        warnings.warn(message, stacklevel=4)


def holds_anything(path: files.PathLike) -> bool:
    """Whether a folder exists and holds more than what a run leaves that was killed before it had begun."""
    return os.path.isdir(path) and any(
        name != ".lock" and not files.is_temporary(name) for name in files.list_folder(path)
    )


def _refuse_if_used(path: files.PathLike, overwrite: bool) -> None:
    target = os.fspath(path)
    if os.path.lexists(target) and not os.path.isdir(target):
        raise UsageError(f"{target} is not a folder", code="run.not_a_folder", file=target)
    if not overwrite and holds_anything(target):
        raise UsageError(
            f"{target} is not empty", code="run.not_empty", file=target,
            hint="go on with --resume, start afresh with --overwrite, or choose another --output",
        )  # fmt: skip
    if overwrite and not _is_of_a_run(target):
        raise UsageError(
            f"{target} is not the folder of a run: --overwrite replaces runs and nothing else", code="run.not_empty",
            file=target, hint="choose another --output",
        )  # fmt: skip


def require_settings(path: str) -> str:
    """The path of a run folder's args.toml. UsageError (code "run.missing") for a folder that is none, or not yet."""
    file, parent = os.path.join(path, "args.toml"), os.path.dirname(os.path.abspath(path))
    if os.path.isfile(file):
        return file
    reason, hint = f"{path} is not a run folder: it has no args.toml", "give the folder that an earlier run wrote"
    if os.path.isfile(os.path.join(parent, "args.toml")):
        run = os.path.dirname(path.rstrip(os.sep)) or parent
        reason, hint = f"{path} is a part of the run {run}, not a run folder", f"give {run}"
    elif os.path.exists(os.path.join(path, ".lock")):
        reason = f"there is nothing in {path} to go on with: the run in it has only just begun, or ended as it began"
        hint = "wait for it, or begin it again with --overwrite"
    raise UsageError(reason, code="run.missing", file=path, hint=hint)


def _is_of_a_run(path: str) -> bool:
    """Whether a folder is empty or missing, or a run was in it: it then has a .lock or, copied, an args.toml."""
    return not holds_anything(path) or any(os.path.isfile(os.path.join(path, name)) for name in (".lock", "args.toml"))


def _make_numbered(base: files.PathLike, name: str) -> str:
    """Make the first `base`/`name`-N that does not exist. Of two processes, each gets its own."""
    files.make_folder(base)
    paths = (os.path.join(base, f"{name}-{number}") for number in itertools.count(1))
    return next(path for path in paths if files.make_new_folder(path))


def _number(cell: str) -> Any:
    if cell == "":
        return None
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _event(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
