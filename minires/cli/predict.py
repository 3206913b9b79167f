"""`minires predict MODEL PICTURE...`: what a trained model says about pictures."""

import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minires.cli import PARTLY, output
from minires.cli.options import BASE, DEVICE, TTA, Parser, add_common, count
from minires.errors import UsageError

if TYPE_CHECKING:
    from minires.finetune.inference import Prediction
    from minires.finetune.loading import LoadedModel

FORMATS = ("table", "csv", "json", "jsonl")
EXAMPLES = """  minires predict runs/finetune-resnet20-1 a.jpg b.png
  minires predict runs/finetune-resnet20-1/model photos/ --recursive --format csv --output labels.csv
  minires predict resnet50.pth photos/ --class-map imagenet.txt
  minires predict https://example.org/flowers-1b2c3d4e.safetensors photos/
  find photos -name '*.jpg' | minires predict runs/finetune-resnet20-1 - --format jsonl"""


def run(name: str, words: Sequence[str]) -> int:
    """The command. Exit status 3 if some pictures could not be read; the others are answered."""
    parser = Parser(name, "Classify pictures. How they are prepared comes with the model.", EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a run folder, the model folder in it, one of its "
                        "checkpoints, a weights file (.pth, .safetensors, .npz), or the URL of one")  # fmt: skip
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="pictures, folders, or - for paths on stdin")
    parser.add_argument("--topk", "--top", metavar="N", help="classes shown for each picture (default: 5)")
    parser.add_argument("--format", metavar="TEXT", help=f"{', '.join(FORMATS)} (default: table)")
    parser.add_argument("--output", metavar="FILE", help="write the answers to a file instead of stdout")
    parser.add_argument("--embeddings", metavar="FILE", help="also write what the head is given, the pooled features, "
                        "to a .npz file: paths (N,) and embeddings (N, features) of the pictures that could be "
                        "read")  # fmt: skip
    parser.add_argument("--fuse", action="store_true", help="fold batch norms into convolutions: for many pictures "
                        "faster, and the last digit may differ")  # fmt: skip
    parser.add_argument("--device", metavar="TEXT", help=DEVICE)
    parser.add_argument("--tta", metavar="N", help=TTA)
    parser.add_argument("--base", metavar="FILE", help=BASE)
    parser.add_argument("--recursive", action="store_true", help="look into the folders below a folder, too")
    parser.add_argument("-b", "--batch-size", metavar="N", help="pictures a batch (default: 32)")
    parser.add_argument("--class-map", metavar="FILE", help="class names for a weights file: one name a line, or JSON "
                        "(ImageNet's 1000: imagenet_classes.txt in the repository pytorch/hub)")  # fmt: skip
    parser.add_argument("--model-name", metavar="NAME", help="which model a weights file holds, if it fits several")
    add_common(parser)
    given = parser.read(words)
    style = "json" if given.get("json") else given.get("format", "table")
    if style not in FORMATS:
        raise UsageError(f"--format is one of {', '.join(FORMATS)}; got {style!r}", code="usage.value")
    topk, batch_size = count(given, "topk", 5), count(given, "batch_size", 32)

    from minires.finetune import devices, inference, loading
    from minires.io import files

    place = devices.find_device(given.get("device", "cpu"))
    if given.get("fuse") and place.type != "cpu":
        raise UsageError("--fuse is for the CPU: on a GPU the kernels are fused as they are", code="usage.conflict")
    say = (lambda text: None) if given.get("quiet") else output.say
    loaded = loading.load_model(given["model"], given.get("class_map"), given.get("model_name"), say=say,
                                base=given.get("base"), progress=False if given.get("quiet") else None)  # fmt: skip
    paths = _pictures(given["inputs"], given.get("recursive", False))
    target, embeddings = given.get("output"), given.get("embeddings")
    _check_targets(target, embeddings)
    topk, width = min(topk, len(loaded.classes)), loaded.model.num_features
    loaded = loaded.fused() if given.get("fuse") else loaded
    views = count(given, "tta", 1)
    if views > 1 and embeddings is not None:
        raise UsageError("--embeddings are those of one picture, --tta looks at several views", code="usage.conflict")
    loaded = loaded.with_views(views)
    loaded.model.to(place)
    predictions = inference.predict(loaded, paths, batch_size, features=embeddings is not None)
    failed: list[Prediction] = []
    read: list[Prediction] = []

    def kept() -> Any:
        for prediction in predictions:
            if prediction.error is not None:
                failed.append(prediction)
                output.say(f"warning: {output.one_line(prediction.error.message)}")
            elif embeddings is not None:
                read.append(prediction)
            yield prediction

    blocks = _WRITERS[style](kept(), loaded, topk)
    if target is None:
        for block in blocks:
            output.write(block)
    else:
        files.write_atomic(target, "".join(blocks))
        output.say(f"{len(paths) - len(failed)} answers written to {target}")
    if embeddings is not None:
        files.write_atomic(embeddings, _npz(read, width))
        output.say(f"{len(read)} embeddings written to {embeddings}")
    if failed:
        output.say(f"minires: {len(failed)} of {len(paths)} pictures could not be read")
    return PARTLY if failed else 0


def _pictures(inputs: Sequence[str], recursive: bool) -> list[str]:
    """The files that the inputs name, with "-" replaced by the lines of stdin.

    A path on stdin that does not exist is kept, to be listed as unreadable later; among the arguments it is wrong use.
    """
    from minires.finetune.inference import find_pictures

    found: list[str] = []
    for name in inputs:
        if name != "-":
            found += find_pictures([name], recursive)
            continue
        for line in _lines_of_stdin():
            found += find_pictures([line], recursive) if os.path.lexists(line) else [line]
    if not found:
        raise UsageError("no paths on stdin", code="data.empty")
    return found


def _lines_of_stdin() -> list[str]:
    """Paths, one a line; a name may hold any other character, and bytes that no encoding knows."""
    raw = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
    lines = (line.removesuffix("\r") for line in raw.decode("utf-8", "surrogateescape").split("\n"))
    return [line for line in lines if line]


def _check_targets(answers: str | None, embeddings: str | None) -> None:
    """UsageError, before any work, for a file that could not be written."""
    for path in (answers, embeddings):
        if path is None:
            continue
        folder = os.path.dirname(path) or "."
        if os.path.isdir(path) or not os.path.isdir(folder):
            reason = "it is a folder" if os.path.isdir(path) else f"there is no folder {folder}"
            raise UsageError(f"cannot write {path}: {reason}", code="usage.output", file=path)
    if embeddings is not None and not embeddings.lower().endswith(".npz"):
        raise UsageError(f"--embeddings writes a .npz file, not {embeddings}", code="usage.output", file=embeddings)
    if embeddings is not None and answers is not None and os.path.abspath(answers) == os.path.abspath(embeddings):
        raise UsageError(f"--output and --embeddings are the same file, {answers}", code="usage.output", file=answers)


def _npz(predictions: "Sequence[Prediction]", width: int) -> bytes:
    """A .npz file with the arrays paths (N,), text, and embeddings (N, width), float32."""
    import numpy as np

    from minires.io import npz

    rows = [prediction.features for prediction in predictions]
    found = np.stack(rows) if rows else np.zeros((0, width), np.float32)  # type: ignore[arg-type]
    return npz.to_bytes({"paths": np.array([prediction.path for prediction in predictions], np.str_),
                         "embeddings": found.astype(np.float32, copy=False)})  # fmt: skip


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
