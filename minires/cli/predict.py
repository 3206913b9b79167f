"""`minires predict MODEL PICTURE...`: what a trained model says about pictures."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minires.cli import PARTLY, output
from minires.cli.options import Parser, add_common
from minires.errors import UsageError

if TYPE_CHECKING:
    from minires.finetune.inference import LoadedModel, Prediction

FORMATS = ("table", "csv", "json", "jsonl")
EXAMPLES = """  minires predict runs/finetune-resnet20-1 a.jpg b.png
  minires predict runs/finetune-resnet20-1/model photos/ --recursive --format csv --output labels.csv
  minires predict resnet50.pth photos/ --class-map imagenet.txt
  find photos -name '*.jpg' | minires predict runs/finetune-resnet20-1 - --format jsonl"""


def run(name: str, words: Sequence[str]) -> int:
    """The command. Exit status 3 if some pictures could not be read; the others are answered."""
    parser = Parser(name, "Classify pictures. How they are prepared comes with the model.", EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a run folder, the model folder in it, or a weights file "
                        "(.pth, .safetensors, .npz)")  # fmt: skip
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="pictures, folders, or - for paths on stdin")
    parser.add_argument("--topk", "--top", metavar="N", help="classes shown for each picture (default: 5)")
    parser.add_argument("--format", metavar="TEXT", help=f"{', '.join(FORMATS)} (default: table)")
    parser.add_argument("--output", metavar="FILE", help="write the answers to a file instead of stdout")
    parser.add_argument("--recursive", action="store_true", help="look into the folders below a folder, too")
    parser.add_argument("-b", "--batch-size", metavar="N", help="pictures a batch (default: 32)")
    parser.add_argument("--class-map", metavar="FILE", help="class names for a weights file: one name a line, or JSON")
    parser.add_argument("--model-name", metavar="NAME", help="which model a weights file holds, if it fits several")
    add_common(parser)
    given = parser.read(words)
    style = "json" if given.get("json") else given.get("format", "table")
    if style not in FORMATS:
        raise UsageError(f"--format is one of {', '.join(FORMATS)}; got {style!r}", code="usage.value")
    topk, batch_size = _count(given, "topk", 5), _count(given, "batch_size", 32)

    from minires.finetune import inference
    from minires.io import files

    loaded = inference.load_model(given["model"], given.get("class_map"), given.get("model_name"))
    paths = inference.find_pictures(_inputs(given["inputs"]), given.get("recursive", False))
    target = given.get("output")
    if target is not None:
        _check_target(target)
    topk = min(topk, len(loaded.classes))
    predictions = inference.predict(loaded, paths, batch_size)
    failed: list[Prediction] = []

    def kept() -> Any:
        for prediction in predictions:
            if prediction.error is not None:
                failed.append(prediction)
                output.say(f"warning: {output.one_line(prediction.error.message)}")
            yield prediction

    blocks = _WRITERS[style](kept(), loaded, topk)
    if target is None:
        for block in blocks:
            sys.stdout.write(block)
    else:
        files.write_atomic(target, "".join(blocks))
        output.say(f"{len(paths) - len(failed)} answers written to {target}")
    if failed:
        output.say(f"minires: {len(failed)} of {len(paths)} pictures could not be read")
    return PARTLY if failed else 0


def _count(given: dict[str, Any], name: str, default: int) -> int:
    text = given.get(name, default)
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag} must be a whole number of at least 1, got {text}", code="usage.value")
    return number


def _inputs(inputs: Sequence[str]) -> list[str]:
    """The inputs, with "-" replaced by the lines of stdin."""
    found: list[str] = []
    for name in inputs:
        if name != "-":
            found.append(name)
            continue
        raw = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
        found += [line for line in raw.decode("utf-8", "surrogateescape").splitlines() if line]
    if not found:
        raise UsageError("no paths on stdin", code="data.empty")
    return found


def _check_target(path: str) -> None:
    import os

    folder = os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.path.isdir(folder):
        reason = "it is a folder" if os.path.isdir(path) else f"there is no folder {folder}"
        raise UsageError(f"cannot write {path}: {reason}", code="usage.output", file=path)


# ---------------------------------------------------------------------------------------------- formats, block by block


def _table(predictions: Any, loaded: "LoadedModel", topk: int) -> Any:
    for prediction in predictions:
        if prediction.error is None:
            yield f"{_printable(prediction.path)}: {_answer(prediction, loaded, topk)}\n"


def _answer(prediction: "Prediction", loaded: "LoadedModel", topk: int) -> str:
    if not loaded.classes:
        return "  ".join(f"{value:.6g}" for value in prediction.values)
    best = prediction.top(topk)
    return "  ".join(f"{loaded.classes[index]} {100 * prediction.values[index]:.1f}%" for index in best)


def _csv(predictions: Any, loaded: "LoadedModel", topk: int) -> Any:
    if loaded.classes:
        pairs = [("label", "prob")] + [(f"label_{rank}", f"prob_{rank}") for rank in range(2, topk + 1)]
        columns = ["path", *(name for pair in pairs for name in pair)]
    else:
        columns = ["path", "value"]
    yield _line(columns)
    for prediction in predictions:
        if prediction.error is None and loaded.classes:
            best = prediction.top(topk)
            cells = [cell for index in best for cell in (loaded.classes[index], f"{prediction.values[index]:.6f}")]
            yield _line([prediction.path, *cells])
        elif prediction.error is None:
            yield _line([prediction.path, *(repr(value) for value in prediction.values)])


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _json(predictions: Any, loaded: "LoadedModel", topk: int) -> Any:
    yield "["
    for number, prediction in enumerate(predictions):
        yield (",\n " if number else "\n ") + json.dumps(_record(prediction, loaded, topk), allow_nan=False)
    yield "\n]\n"


def _jsonl(predictions: Any, loaded: "LoadedModel", topk: int) -> Any:
    for prediction in predictions:
        yield json.dumps(_record(prediction, loaded, topk), allow_nan=False) + "\n"


def _record(prediction: "Prediction", loaded: "LoadedModel", topk: int) -> dict[str, Any]:
    if prediction.error is not None:
        return {"path": prediction.path, "error": {"code": prediction.error.code, "message": prediction.error.message}}
    finite = [value if value == value and abs(value) != float("inf") else None for value in prediction.values]
    if not loaded.classes:
        return {"path": prediction.path, "values": finite}
    best = prediction.top(topk)
    return {"path": prediction.path,
            "predictions": [{"label": loaded.classes[index], "prob": finite[index]} for index in best]}  # fmt: skip


def _printable(path: str) -> str:
    """A path on one line of a terminal: line breaks and control codes are shown escaped."""
    return path if path.isprintable() or not any(ord(letter) < 32 for letter in path) else repr(path)


_WRITERS = {"table": _table, "csv": _csv, "json": _json, "jsonl": _jsonl}
