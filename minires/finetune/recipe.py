"""The whole job: look at the pictures, build the model, measure, train, keep the best, measure again, write it down.

`finetune(data="photos", epochs=10)` and `train(data="photos")` are the same job with different defaults (settings.py).
Everything that can be wrong is looked at before the run folder is made; what is left in it afterwards is described in
minires/io/run_folder.py. A run that was interrupted goes on, bit by bit, as if nothing had happened: `resume=True`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minires.errors import UsageError
from minires.finetune.batch_size import AUTO, with_batch_size
from minires.finetune.pictures import class_roots
from minires.finetune.result import Result
from minires.finetune.resuming import RUNS, find_folder, run_of_checkpoint, settings_of_run
from minires.finetune.settings import Settings, flag, make_settings
from minires.io import RunFolder, run_folder
from minires.io.files import FileAccessError
from minires.training import Callback

if TYPE_CHECKING:
    from minires.finetune.trial import Trial

# What a job is made of is imported where one begins, so that `import minires` need not load it all.
Say = Callable[[str], None]


def finetune(**arguments: Any) -> Result:
    """Train a pretrained model further on pictures of your own, with a new head.

    Arguments are the settings of `minires.finetune.settings.Settings` (`data` is needed, the rest has defaults;
    from_run names a finished run whose classes are kept, see continual.py) and:
    output: folder of the run (default: runs/finetune-MODEL-N). resume: True to go on with the run in `output` (or the
    newest in runs/), its path or a checkpoint file in it to go on there, or "auto": if it was begun, else begin.
    overwrite: replace an earlier run in `output`. accept_data_change: resume though the pictures have changed.
    say: where lines for people go (default: nowhere). progress: whether bars are shown (default: no).

    Raises UsageError before anything is created for settings and folders that make no sense, DataError for pictures
    that cannot be read, NumericalError for a loss that is not finite.
    """
    return run_job("finetune", arguments)


def train(**arguments: Any) -> Result:
    """Train a model from random numbers; otherwise as `finetune`, with defaults of its own."""
    return run_job("train", arguments)


def run_job(
    command: str, arguments: Mapping[str, Any], say: Say | None = None, progress: bool = False,
    last_screen: Callable[[Result], str] | None = None, callbacks: Sequence[Callback] = (),
) -> Result:  # fmt: skip
    """The job that `command`, "finetune" or "train", names. Arguments as in `finetune`.

    callbacks: of the Trainer, beside the job's own.
    """
    values = dict(arguments)
    check_ways(values)
    output, resume, overwrite = (values.pop(name, None) for name in ("output", "resume", "overwrite"))
    accept = bool(values.pop("accept_data_change", False))
    say = values.pop("say", None) or say or (lambda text: None)
    progress = bool(values.pop("progress", progress))
    checkpoint = None
    if isinstance(resume, str | os.PathLike) and os.path.isfile(resume):
        checkpoint = os.fspath(resume)
        resume = run_of_checkpoint(checkpoint)
    from minires.finetune.job import Job

    path, resuming = find_folder(output, resume, command)
    if resuming:
        assert path is not None
        if overwrite:
            raise UsageError("--overwrite and --resume exclude each other", code="usage.conflict")
        if values.get("batch_size") == AUTO:  # the run has chosen one
            del values["batch_size"]
        settings, changes = settings_of_run(command, path, values)
        with RunFolder.resume(path) as folder:
            job = Job(command, settings, say, progress, changes=changes, checkpoint=checkpoint,
                      accept_data_change=accept, last_screen=last_screen, callbacks=callbacks)  # fmt: skip
            return job.resume(folder)
    settings = make_settings(with_batch_size(command, values, say)).check().resolved(command)
    refuse_used_folder(path, command, settings, bool(overwrite))
    job = Job(command, settings, say, progress, last_screen=last_screen, callbacks=callbacks)
    job.prepare()
    with open_folder(path, command, settings, bool(overwrite)) as folder:
        folder.write_args({"command": command, **settings.to_dict()})
        return job.start(folder)


def dry_run(
    command: str, arguments: Mapping[str, Any], say: Say | None = None, progress: bool = False
) -> "Trial":  # fmt: skip
    """What the job would do: data and model are looked at and one batch is tried. Nothing is written."""
    values = dict(arguments)
    check_ways(values)
    output, resume, overwrite = (values.pop(name, None) for name in ("output", "resume", "overwrite"))
    say = say or (lambda text: None)
    path, resuming = find_folder(output, resume, command)
    if resuming or values.pop("accept_data_change", False):
        raise UsageError("--dry-run tries a run that is to begin, not one that is resumed", code="usage.conflict")
    settings = make_settings(with_batch_size(command, values, say)).check().resolved(command)
    refuse_used_folder(path, command, settings, bool(overwrite))
    from minires.finetune.job import Job
    from minires.finetune.trial import try_out

    job = Job(command, settings, say, progress)
    job.prepare()
    say(job.describe())
    return try_out(job)


def check_ways(values: Mapping[str, Any]) -> None:
    """UsageError for a value of the wrong type: `overwrite = "no"` in a file of settings is no yes."""
    for name, value in values.items():
        if name in ("overwrite", "accept_data_change") and not isinstance(value, bool | None):
            raise UsageError(f"{flag(name)} takes true or false, got {value!r}", code="usage.value")
        if name == "output" and not isinstance(value, str | os.PathLike | None):
            raise UsageError(f"{flag(name)} is the path of a folder, got {value!r}", code="usage.value")
        if name == "resume" and not isinstance(value, str | os.PathLike | bool | None):
            raise UsageError(f"{flag(name)} is the path of a folder, got {value!r}", code="usage.value")


def refuse_used_folder(path: str | None, command: str, settings: Settings, overwrite: bool) -> None:
    """Before the pictures are looked at: a folder that holds anything, or lies among them, is not one to begin in."""
    refuse_folder_among_pictures(path, settings)
    earlier = os.path.join(os.path.realpath(settings.from_run or ""), "")
    if path is not None and settings.from_run and earlier.startswith(os.path.join(os.path.realpath(path), "")):
        raise UsageError(f"--output {path} is the run that --from begins from: it would be overwritten",
                         code="usage.output", file=path, hint="choose another --output")  # fmt: skip
    if path is not None and not overwrite and run_folder.holds_anything(path):
        with open_folder(path, command, settings, False):  # raises the UsageError that says so
            pass


def refuse_folder_among_pictures(path: str | None, settings: Settings) -> None:
    """UsageError for a run in a folder of pictures: the next one would take it for a class."""
    if not os.path.isdir(str(settings.data)):
        return
    pictures = [os.path.realpath(folder) for folder in class_roots(settings)]
    place = os.path.realpath(RUNS if path is None else path)
    if any(place == folder or place.startswith(os.path.join(folder, "")) for folder in pictures):
        where = f"the folder {RUNS}/ of this run" if path is None else f"--output {path}"
        raise UsageError(f"{where} is among the pictures of {settings.data}: the next run would take it for a class",
                         code="usage.output", file=path, hint="choose an --output elsewhere")  # fmt: skip


def open_folder(path: str | None, command: str, settings: Settings, overwrite: bool) -> RunFolder:
    """The new run folder. A place that cannot be written is wrong use: nothing has been created."""
    refuse_folder_among_pictures(path, settings)
    try:
        name = os.path.basename(os.path.normpath(str(settings.model)))  # of a folder, its last part
        return RunFolder.create(path, f"{command}-{name}", overwrite=overwrite)
    except FileAccessError as error:
        message = error.message if path is None else f"cannot make the run folder {path}: {error.message}"
        hint = error.hint or "choose another --output"
        raise UsageError(message, code="run.unwritable", file=error.file, hint=hint) from error
