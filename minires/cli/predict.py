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
    from minires.cli.answers import Words
    from minires.finetune.inference import Prediction

FORMATS = ("table", "csv", "json", "jsonl")
EXAMPLES = """  minires predict runs/finetune-resnet20-1 a.jpg b.png
  minires predict runs/finetune-resnet20-1/model photos/ --recursive --format csv --output labels.csv
  minires predict resnet50.pth photos/ --class-map imagenet.txt
  minires predict https://example.org/flowers-1b2c3d4e.safetensors photos/
  minires predict runs/finetune-resnet20-1 a.jpg --nearest photos/ --topk 3        the most alike
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
    parser.add_argument("--embeddings", metavar="FILE", help="also write what the head is given, the pooled features "
                        "(after --loss arcface, cosface or triplet: the embeddings), to a .npz file: paths (N,) and "
                        "embeddings (N, features) of the pictures that could be read")  # fmt: skip
    parser.add_argument("--nearest", metavar="FOLDER", help="answer with the pictures in this folder that are most "
                        "alike, --topk of them, and the cosines of their embeddings with the picture's")  # fmt: skip
    parser.add_argument("--fuse", action="store_true", help="fold batch norms into convolutions: for many pictures "
                        "faster, and the last digit may differ")  # fmt: skip
    parser.add_argument("--device", metavar="TEXT", help=DEVICE)
    parser.add_argument("--tta", metavar="N", help=TTA)
    parser.add_argument("--threshold", metavar="X", help="multi-label models: say labels above this probability, for "
                        "all alike (default: that of the model, or those that were tuned)")  # fmt: skip
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

    from minires.cli.answers import words_of
    from minires.cli.nearest import NearestPictures, gallery_of
    from minires.finetune import devices, inference, loading
    from minires.finetune.embeddings import width_of
    from minires.finetune.settings import FIELDS, check_value
    from minires.io import files

    place = devices.find_device(given.get("device", "cpu"))
    if given.get("fuse") and place.type != "cpu":
        raise UsageError("--fuse is for the CPU: on a GPU the kernels are fused as they are", code="usage.conflict")
    say = (lambda text: None) if given.get("quiet") else output.say
    loaded = loading.load_model(given["model"], given.get("class_map"), given.get("model_name"), say=say,
                                base=given.get("base"), progress=False if given.get("quiet") else None)  # fmt: skip
    if "threshold" in given:
        loaded = loaded.with_threshold(check_value(FIELDS["threshold"], given["threshold"]))
    paths = _pictures(given["inputs"], given.get("recursive", False))
    target, embeddings = given.get("output"), given.get("embeddings")
    _check_targets(target, embeddings)
    width = width_of(loaded.model)
    loaded = loaded.fused() if given.get("fuse") else loaded
    views = count(given, "tta", 1)
    if views > 1 and embeddings is not None:
        raise UsageError("--embeddings are those of one picture, --tta looks at several views", code="usage.conflict")
    if given.get("nearest") is not None and views > 1:
        raise UsageError("--nearest compares single pictures, --tta looks at several views", code="usage.conflict")
    loaded = loaded.with_views(views)
    loaded.model.to(place)
    told: Words = words_of(loaded.kind, min(topk, len(loaded.classes)))
    if given.get("nearest") is not None:
        told = NearestPictures(gallery_of(loaded, given["nearest"], batch_size), topk)
    wants_features = embeddings is not None or given.get("nearest") is not None
    predictions = inference.predict(loaded, paths, batch_size, features=wants_features)
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

    blocks = _WRITERS[style](kept(), told)
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


def _table(predictions: Any, words: "Words") -> Any:
    for prediction in predictions:
        if prediction.error is None:
            yield f"{_printable(prediction.path)}: {words.line(prediction)}\n"


def _csv(predictions: Any, words: "Words") -> Any:
    yield _line(["path", *words.columns()])
    for prediction in predictions:
        if prediction.error is None:
            yield _line([prediction.path, *words.cells(prediction)])


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _json(predictions: Any, words: "Words") -> Any:
    yield "["
    for number, prediction in enumerate(predictions):
        yield (",\n " if number else "\n ") + json.dumps(_record(prediction, words), allow_nan=False)
    yield "\n]\n"


def _jsonl(predictions: Any, words: "Words") -> Any:
    for prediction in predictions:
        yield json.dumps(_record(prediction, words), allow_nan=False) + "\n"


def _record(prediction: "Prediction", words: "Words") -> dict[str, Any]:
    if prediction.error is not None:
        return {"path": prediction.path, "error": {"code": prediction.error.code, "message": prediction.error.message}}
    return {"path": prediction.path, **words.record(prediction)}


def _printable(path: str) -> str:
    """A path on one line of a terminal: line breaks and control codes are shown escaped."""
    return path if path.isprintable() or not any(ord(letter) < 32 for letter in path) else repr(path)


_WRITERS = {"table": _table, "csv": _csv, "json": _json, "jsonl": _jsonl}
