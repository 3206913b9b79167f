"""The whole job: look at the pictures, build the model, measure, train, keep the best, measure again, write it down.

`finetune(data="photos", epochs=10)` and `train(data="photos")` are the same job with different defaults (settings.py).
Everything that can be wrong is looked at before the run folder is made; what is left in it afterwards is described in
minires/io/run_folder.py. A run that was interrupted goes on, bit by bit, as if nothing had happened: `resume=True`.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from minires.errors import UsageError
from minires.finetune.job import Job, Result
from minires.finetune.settings import FIELDS, Settings, check_value, flag, make_settings, shown
from minires.io import RunFolder, run_folder, toml
from minires.io.files import FileAccessError

Say = Callable[[str], None]


def finetune(**arguments: Any) -> Result:
    """Train a pretrained model further on pictures of your own, with a new head.

    Arguments are the settings of `minires.finetune.settings.Settings` (`data` is needed, the rest has defaults) and:
    output: folder of the run (default: runs/finetune-MODEL-N). resume: True to go on with the run in `output`, its path
    to go on there, or "auto". overwrite: replace an earlier run in `output`. say: where lines for people go (default:
    nowhere). progress: whether bars are shown (default: no).

    Raises UsageError before anything is created for settings and folders that make no sense, DataError for pictures
    that cannot be read, NumericalError for a loss that is not finite.
    """
    return run_job("finetune", arguments)


def train(**arguments: Any) -> Result:
    """Train a model from random numbers; otherwise as `finetune`, with defaults of its own."""
    return run_job("train", arguments)


def run_job(command: str, arguments: Mapping[str, Any], say: Say | None = None, progress: bool = False) -> Result:
    """The job that `command`, "finetune" or "train", names. Arguments as in `finetune`."""
    values = dict(arguments)
    output, resume, overwrite = (values.pop(name, None) for name in ("output", "resume", "overwrite"))
    say = values.pop("say", None) or say or (lambda text: None)
    progress = bool(values.pop("progress", progress))
    for name, value in (("output", output), ("resume", resume)):
        if not isinstance(value, str | os.PathLike | bool | None):
            raise UsageError(f"{flag(name)} is the path of a folder, got {value!r}", code="usage.value")
    path, resuming = find_folder(output, resume)
    if resuming:
        assert path is not None
        if overwrite:
            raise UsageError("--overwrite and --resume exclude each other", code="usage.conflict")
        settings = settings_of_run(command, path, values)
        with RunFolder.resume(path) as folder:
            return Job(command, settings, say, progress).resume(folder)
    settings = make_settings(values).check().resolved(command)
    if path is not None and not overwrite and run_folder.holds_anything(path):
        with open_folder(path, command, settings, False):  # raises the UsageError that says so
            pass
    job = Job(command, settings, say, progress)
    job.prepare()
    with open_folder(path, command, settings, bool(overwrite)) as folder:
        folder.write_args({"command": command, **settings.to_dict()})
        return job.start(folder)


def find_folder(output: Any, resume: Any) -> tuple[str | None, bool]:
    """The run folder that --output and --resume mean, and whether a run in it is to go on."""
    if resume in (None, False):
        return (None if output is None else os.fspath(output)), False
    if resume in (True, "", "auto"):
        if output is None:
            raise UsageError("--resume alone needs --output, the folder of the run", code="usage.missing",
                             hint="--resume RUN")  # fmt: skip
        path = os.fspath(output)
        return path, resume != "auto" or os.path.isfile(os.path.join(path, "args.toml"))
    path = os.fspath(resume)
    if output is not None and os.path.realpath(output) != os.path.realpath(path):
        raise UsageError(f"--resume {path} and --output {output} name two folders", code="usage.conflict")
    return path, True


def settings_of_run(command: str, path: str, given: Mapping[str, Any]) -> Settings:
    """The settings that the run at `path` was begun with. Only what cannot change a bit may be given anew."""
    file = os.path.join(path, "args.toml")
    if not os.path.isfile(file):
        raise UsageError(f"{path} is not a run folder: it has no args.toml", code="run.missing", file=path)
    values = toml.load_file(file)
    begun_by = values.pop("command", command)
    if begun_by != command:
        raise UsageError(f"{path} was begun by minires {begun_by}", code="run.command", file=path,
                         hint=f"minires {begun_by} --resume {path}")  # fmt: skip
    settings = make_settings(values, file).check()
    for name, value in given.items():
        make_settings({name: value})
        value = None if value is None else check_value(FIELDS[name], value)
        old = getattr(settings, name)
        if name not in ("workers", "max_steps", "checkpoint_hist") and value != old:
            message = f"a resumed run keeps its settings: {path} has {flag(name)} {shown(old)}, not {shown(value)}"
            raise UsageError(message, code="run.settings", hint="leave the flag out, or start another run")
        setattr(settings, name, value)
    if "max_steps" not in given:
        settings.max_steps = None
    return settings


def open_folder(path: str | None, command: str, settings: Settings, overwrite: bool) -> RunFolder:
    """The new run folder. A place that cannot be written is wrong use: nothing has been created."""
    try:
        name = os.path.basename(os.path.normpath(str(settings.model)))  # of a folder, its last part
        return RunFolder.create(path, f"{command}-{name}", overwrite=overwrite)
    except FileAccessError as error:
        message = error.message if path is None else f"cannot make the run folder {path}: {error.message}"
        hint = error.hint or "choose another --output"
        raise UsageError(message, code="run.unwritable", file=error.file, hint=hint) from error
