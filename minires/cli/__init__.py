"""The command line: `minires finetune|train|evaluate|predict|export|...`, a thin shell over the API.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 failed at run time, 2 wrong use (nothing has
been created), 3 partly done, 130 interrupted, 143 terminated, 129 hung up. An error is one line; with --json also an
object on stdout.
A command's module is imported only when it is called, so that `minires --help` answers at once.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

from minires.cli import output
from minires.cli.signals import Terminated, termination
from minires.errors import MiniresError, UsageError
from minires.version import __version__

COMMANDS = {
    "finetune": "train a pretrained model further on your pictures",
    "train": "train a model from nothing on your pictures",
    "search": "train with settings drawn from a space, and show which were best",
    "lr-find": "suggest a learning rate: train a little while it grows, and see where the loss falls",
    "evaluate": "measure a trained model on labelled pictures",
    "predict": "classify pictures with a trained model",
    "add-classes": "teach a model of embeddings new classes by a few pictures, without training",
    "explain": "show where in pictures a model found what it says (Grad-CAM, occlusion)",
    "report": "write a run's report.html anew: curves, confusion, worst mistakes, where the model looks",
    "export": "write a trained model for other programs: ONNX, torch, safetensors",
    "summary": "show a model's layers, parameters, multiply-adds and memory",
    "bench": "time a model on this machine and show where the time goes",
    "doctor": "show versions, BLAS, threads and GPU, and say what is wrong",
    "gradcheck": "check the derivatives of every operation on this machine",
}

DONE, FAILED, WRONG_USE, PARTLY, INTERRUPTED = 0, 1, 2, 3, 130

HELP = """usage: minires COMMAND ...

{commands}

examples:
  minires finetune --data digits                 try it: scikit-learn's digits, nothing to download
  minires finetune --data photos/                photos/CLASS/*.jpg; the result is in runs/finetune-resnet20-1
  minires evaluate runs/finetune-resnet20-1      its test pictures once more
  minires predict runs/finetune-resnet20-1 new/*.jpg
  minires export runs/finetune-resnet20-1 --output model.onnx

minires COMMAND --help lists what a command takes; minires --version tells the version.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    output.prepare_streams()
    try:
        with termination(), output.short_warnings():
            return _run(words)
    except BrokenPipeError:  # whoever read our output has closed it (| head -1): that is no fault
        output.drop_stdout()
        return DONE
    except KeyboardInterrupt:
        return _give_up("interrupted", INTERRUPTED)
    except Terminated as signal:
        return _give_up(signal.word, signal.status)


def _run(words: list[str]) -> int:
    try:
        status = _dispatch(words)
        output.flush()
        return status
    except UsageError as error:
        return output.report_error(error, words, WRONG_USE)
    except MiniresError as error:
        return output.report_error(error, words, FAILED)
    except MemoryError as error:
        hint = "a smaller --batch-size or --img-size needs less"
        found = MiniresError(f"out of memory: {error}".rstrip(": "), code="memory", hint=hint)
        return output.report_error(found, words, FAILED)
    except BrokenPipeError:
        raise
    except Exception as error:
        found = MiniresError(f"{type(error).__name__}: {output.one_line(error)}", code="internal")
        found.hint = "MINIRES_DEBUG=1 shows where"
        return output.report_error(found, words, FAILED)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        lines = [f"  {name:<11} {text}" for name, text in COMMANDS.items()]
        output.result(HELP.format(commands="\n".join(lines)).rstrip())
        return DONE if words else WRONG_USE
    if words[0] in ("-V", "--version"):
        output.result(f"minires {__version__}")
        return DONE
    if words[0] not in COMMANDS:
        from minires.cli.options import nearest

        raise UsageError(f"no command {words[0]!r}{nearest(words[0], COMMANDS)}", code="usage.unknown",
                         hint="minires --help lists the commands")  # fmt: skip
    name = "job" if words[0] in ("finetune", "train") else words[0]
    command = importlib.import_module(f"minires.cli.{name.replace('-', '_')}")
    return command.run(words[0], words[1:])


def _give_up(word: str, status: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        output.drop_stdout()
    with contextlib.suppress(OSError):  # the terminal may be gone: that is what a hang-up says
        os.write(2, f"minires: {word}\n".encode())
    return status
