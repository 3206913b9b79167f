"""`minires evaluate RUN_or_MODEL --data D --split test`: a trained model measured on labelled pictures."""

from collections.abc import Sequence
from typing import Any

from minires.cli import PARTLY, output
from minires.cli.figures import cell, interval_cells
from minires.cli.options import BASE, TTA, Parser, add_common, add_setting, count
from minires.errors import UsageError

EXAMPLES = """  minires evaluate runs/finetune-resnet20-1                     the run's own test pictures
  minires evaluate runs/finetune-resnet20-1 --split val --json
  minires evaluate runs/finetune-resnet20-1/model --data new/    new/CLASS/*.jpg
  minires evaluate runs/tags --data new/ --labels new.csv        a row a picture
  minires evaluate resnet50.pth --data imagenet/ --split val --class-map names.txt"""

SETTINGS = ("on_bad_image", "batch_size", "workers", "worker_type", "device")
TABLE = ("labels", "image_column", "label_columns", "label_delim")


def run(name: str, words: Sequence[str]) -> int:
    """The command. Exit status 3 if pictures were left out with --on-bad-image skip."""
    from minires.finetune import evaluation
    from minires.finetune.settings import FIELDS, check_value

    text = "Measure a trained model. Class order and preprocessing come from the model's folder."
    parser = Parser(name, text, EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a run folder, the model folder in it, one of its "
                        "checkpoints, a file of minires export or weights, or the URL of one")  # fmt: skip
    parser.add_argument("--data", "--data-dir", "--data-path", metavar="TEXT",
                        help="folder CLASS/*.jpg, or with folders of the splits in it, CSV table or digits "
                        "(default: the run's)")  # fmt: skip
    for setting in TABLE:
        add_setting(parser, FIELDS[setting])
    parser.add_argument("--split", metavar="TEXT", help="train, val or test (default: test)")
    parser.add_argument("--tta", metavar="N", help=TTA)
    parser.add_argument("--base", metavar="FILE", help=BASE)
    parser.add_argument("--class-map", metavar="FILE", help="class names for a weights file, as the folders are "
                        "called: one name a line, or JSON")  # fmt: skip
    parser.add_argument("--model-name", metavar="NAME", help="which model a weights file holds, if it fits several")
    parser.add_argument("--threshold", metavar="X", help="multi-label models: probability above which a label is said, "
                        "for all alike (default: that of the model, or those that were tuned)")  # fmt: skip
    for setting in SETTINGS:
        add_setting(parser, FIELDS[setting])
    add_common(parser)
    given = parser.read(words)
    checked = {key: check_value(FIELDS[key], given[key]) for key in (*SETTINGS, *TABLE, "threshold")
               if key in given}  # fmt: skip
    split = given.get("split", "test")
    if split not in ("train", "val", "test"):
        raise UsageError(f"--split is one of train, val, test; got {split!r}", code="usage.value")
    say = (lambda text: None) if given.get("quiet") else output.say
    found = evaluation.evaluate_model(given["model"], given.get("data"), split, say=say, tta=count(given, "tta", 1),
                                      base=given.get("base"), class_map=given.get("class_map"),
                                      name=given.get("model_name"), **checked)  # fmt: skip
    if given.get("json"):
        output.result_json(found.to_dict())
    else:
        output.result(describe(found.to_dict()))
    for path, reason in found.skipped.items():
        output.say(f"skipped: {path}: {output.one_line(reason)}")
    return PARTLY if found.skipped else 0


def describe(found: dict[str, Any]) -> str:
    """The figures for people."""
    metrics = found["metrics"]
    lines = [f"{found['model']} on {found['data']}, split {found['split']}: {metrics['samples']} pictures"]
    rows = [["figure", "value", "95 % from", "to"]]
    rows += [[key, f"{value:.4f}", *interval_cells(metrics, key)] for key, value in metrics.items()
             if isinstance(value, float)]  # fmt: skip
    others = {"baseline": metrics.get("baseline")}
    if "untuned" in metrics:
        others[f"{metrics['untuned']['threshold']:g} for every label"] = metrics["untuned"]
    for title, figures in others.items():
        if figures is not None:
            rows = [[*row, title if row[0] == "figure" else cell(figures.get(row[0]))] for row in rows]
    lines.append(output.table(rows))
    for key, title in (("per_class", "class"), ("per_output", "number")):
        if each := metrics.get(key):
            names = list(next(iter(each.values())))
            rows = [[title, *("pictures" if name == "samples" else name for name in names)]]
            rows += [[name, *(cell(figures[one]) for one in names)] for name, figures in each.items()]
            lines += ["", output.table(rows)]
    lines += [f"note: {output.one_line(note)}" for note in found["notes"]]
    return "\n".join(lines)
