"""Which run `--resume` means, which of its settings may be given anew, and the checkpoint that it goes on from.

A resumed run keeps its settings: other data, another model, seed or batch size would make it a different run. What
only says how long or how fast, or with which rate the coming steps are made, may change. Every change stands in
args.toml and in events.jsonl.
"""

import os
from collections.abc import Mapping
from typing import Any

from minires.errors import FileFormatError, UsageError
from minires.finetune.setting_values import check_value, flag, shown
from minires.finetune.settings import FIELDS, Settings, make_settings
from minires.io import RunFolder, checkpoint, files, run_folder, toml

RUNS = "runs"  # the folder that runs without --output are in
FREE = ("workers", "worker_type", "max_steps", "max_time", "checkpoint_hist", "checkpoint_interval",
        "log_interval")  # change no bit  # fmt: skip
COMING_STEPS = ("lr", "epochs", "patience", "min_delta", "clip_grad", "device", "amp")  # change the steps from here on
ONLY_THIS_TIME = ("max_steps", "max_time")  # what one call may do: never taken over from the call before

Changes = dict[str, tuple[Any, Any]]  # name of a setting -> what it was and what it is now


def find_folder(output: Any, resume: Any, command: str = "finetune") -> tuple[str | None, bool]:
    """The run folder that --output and --resume mean, and whether a run in it is to go on."""
    if resume in (None, False):
        return (None if output is None else os.fspath(output)), False
    if resume == "auto" and output is None:
        raise UsageError("--resume auto needs --output, the folder of the run", code="usage.missing")
    if resume in (True, "") and output is None:
        return newest_run(command), True
    if resume in (True, "", "auto"):
        path = os.fspath(output)
        return path, resume != "auto" or os.path.isfile(os.path.join(path, "args.toml"))
    path = os.fspath(resume)
    if output is not None and os.path.realpath(output) != os.path.realpath(path):
        raise UsageError(f"--resume {path} and --output {output} name two folders", code="usage.conflict")
    return path, True


def newest_run(command: str) -> str:
    """The run of `command` in runs/ that was written to last: the one that --resume alone means."""
    found = []
    for name in files.list_folder(RUNS) if os.path.isdir(RUNS) else ():
        path = os.path.join(RUNS, name)
        if os.path.isfile(os.path.join(path, "args.toml")) and _command_of(path) == command:
            written = [os.path.join(path, file) for file in ("args.toml", "log.txt", "events.jsonl")]
            found.append((max(os.stat(file).st_mtime_ns for file in written if os.path.exists(file)), path))
    if not found:
        raise UsageError(f"--resume alone goes on with the newest run in {RUNS}, and there is none of {command}",
                         code="usage.missing", hint="--resume RUN, or --resume --output RUN")  # fmt: skip
    return max(found)[1]


def _command_of(path: str) -> Any:
    try:
        return toml.load_file(os.path.join(path, "args.toml")).get("command")
    except FileFormatError:
        return None  # somebody else's, or torn: not one to go on with unasked


def run_of_checkpoint(file: str) -> str:
    """The run folder that a checkpoint file belongs to. UsageError for any other file."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(file)))
    try:
        checkpoint.step_of(file)
        known = os.path.isfile(os.path.join(folder, "args.toml"))
    except ValueError:
        known = False
    if not known:
        raise UsageError(f"{file} is no checkpoint of a run", code="run.missing", file=file,
                         hint="--resume RUN, or --resume RUN/checkpoints/step-N.safetensors")  # fmt: skip
    return os.path.relpath(folder) if not os.path.isabs(file) else folder


def set_newer_aside(file: str) -> list[str]:
    """Checkpoints newer than `file` get a name under which no resume finds them; returns the new names.

    The run goes on from `file`, on another path than the one that those were on.
    """
    folder, step = os.path.dirname(file), checkpoint.step_of(file)
    moved = []
    for path in checkpoint.list_checkpoints(folder):
        if checkpoint.step_of(path) > step:
            target = os.path.join(folder, f"set-aside-{os.path.basename(path)}")
            files.move_into_place(path, target)
            moved.append(target)
    return moved


def settings_of_run(command: str, path: str, given: Mapping[str, Any]) -> tuple[Settings, Changes]:
    """The settings that the run at `path` goes on with, and which of them are new."""
    file = run_folder.require_settings(path)
    values = toml.load_file(file)
    begun_by = values.pop("command", command)
    if begun_by != command:
        if "folds" in values:  # those of minires finetune --folds 5
            begun_by = f"{values['of']} --folds {values['folds']}"
        raise UsageError(f"{path} was begun by minires {begun_by}", code="run.command", file=path,
                         hint=f"minires {begun_by} --resume {path}")  # fmt: skip
    if values.get("task") == "regression" and values.get("eval_metric") == "top1":
        values["eval_metric"] = "loss"  # earlier versions wrote the one, and meant the other
    try:
        settings = make_settings(values, file).check()
    except UsageError as error:  # written by hand, or by a version that took it
        raise UsageError(f"{file}: {error.message}", code=error.code, file=file, hint=error.hint) from error
    changes: Changes = {}
    for name in ONLY_THIS_TIME:
        setattr(settings, name, None)
    for name, value in given.items():
        make_settings({name: value})
        value = None if value is None else check_value(FIELDS[name], value)
        old = getattr(settings, name)
        if value == old or (name == "class_weights" and str(value) == str(old)):
            continue
        if name not in FREE + COMING_STEPS:
            message = f"a resumed run keeps its settings: {path} has {flag(name)} {shown(old)}, not {shown(value)}"
            hint = f"leave the flag out, or start another run ({', '.join(map(flag, COMING_STEPS))} may change)"
            raise UsageError(message, code="run.settings", hint=hint)
        if name == "epochs" and settings.sched == "onecycle":
            raise UsageError(f"--sched onecycle was planned for {shown(old)} epochs: --epochs cannot change",
                             code="run.settings")  # fmt: skip
        if name == "epochs" and settings.strategy in ("lp-ft", "gradual"):
            raise UsageError(f"--strategy {settings.strategy} was planned for {shown(old)} epochs: --epochs cannot "
                             "change", code="run.settings")  # fmt: skip
        setattr(settings, name, value)
        if name not in ONLY_THIS_TIME:
            changes[name] = (old, value)
    settings.check()
    return settings, changes


def record_changes(
    folder: RunFolder, command: str, settings: Settings, changes: Changes, file: str | None = None
) -> None:  # fmt: skip
    """Note new settings, and the step from which they hold, in events.jsonl and args.toml.

    file: the checkpoint that the run goes on from (None: the newest).
    """
    kept = [file] if file else checkpoint.list_checkpoints(folder.checkpoints)
    step = checkpoint.step_of(kept[0]) if kept else 0
    folder.event("settings_changed", after_step=step,
                 **{name: {"from": old, "to": new} for name, (old, new) in changes.items()})  # fmt: skip
    folder.write_args({"command": command, **settings.to_dict()}, remarks=told_changes(folder))


def told_changes(folder: RunFolder) -> list[str]:
    """A line for each time that the run went on with other settings: "after step 98: --lr 0.001 -> 0.0001"."""
    lines = []
    for event in folder.read_events():
        if event["event"] == "settings_changed":
            changed = {name: (value.get("from"), value.get("to")) for name, value in event.items()
                       if isinstance(value, Mapping)}  # fmt: skip
            since = f"after step {event['after_step']}" if "after_step" in event else f"at {event['time']}"
            lines.append(f"{since}: {describe_changes(changed)}")
    return lines


def describe_changes(changes: Changes) -> str:
    """The changes in one line."""
    return ", ".join(f"{flag(name)} {shown(old)} -> {shown(new)}" for name, (old, new) in changes.items())
