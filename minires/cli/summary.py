"""`minires summary`: the layers of a model, what comes out of each, and what it costs."""

import os
from collections.abc import Sequence

from minires import models
from minires.cli import output
from minires.cli.options import Parser, add_common, nearest
from minires.data import Preprocessing
from minires.errors import UsageError
from minires.finetune.loading import load_model
from minires.models.summary import Summary, summarize
from minires.nn import init

EXAMPLES = """  minires summary resnet50                       for one picture of 224 x 224
  minires summary resnet50 --img-size 320 --num-classes 10
  minires summary runs/finetune-resnet20-1       a trained model
  minires summary resnet50.pth                   what a weights file holds
  minires summary resnet50 --json | jq .multiply_adds
  minires summary                                the names of the models"""


def run(name: str, words: Sequence[str]) -> int:
    """The command."""
    parser = Parser(name, "Show a model's layers: output shapes, parameters, multiply-adds, memory.", EXAMPLES)
    parser.add_argument("model", metavar="NAME", nargs="?", help="a model's name, a run or model folder, or a "
                        "weights file")  # fmt: skip
    parser.add_argument("--img-size", type=int, metavar="N", help="side of the picture (default: the model's usual)")
    parser.add_argument("--num-classes", type=int, metavar="N", help="outputs (default: the model's usual)")
    add_common(parser)
    given = parser.read(words)
    if "model" not in given:
        listed = models.list_models()
        output.result_json({"models": listed}) if given.get("json") else output.result("\n".join(listed))
        return 0
    for flag in ("img_size", "num_classes"):
        if given.get(flag, 1) < 1:
            raise UsageError(f"--{flag.replace('_', '-')} must be at least 1, got {given[flag]}", code="usage.value")
    model, preprocessing = find_model(given["model"], given.get("num_classes"), given.get("quiet", False))
    height, width = (given["img_size"],) * 2 if "img_size" in given else picture_size(preprocessing)
    shape = (1, model.config.get("in_channels", 3), height, width)
    try:
        found = summarize(model, shape)
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"{given['model']} cannot take pictures of {height} x {width}: {output.one_line(error)}",
                         code="usage.value", hint="a larger --img-size") from error  # fmt: skip
    if given.get("json"):
        output.result_json({"model": given["model"], **found.to_dict()})
    else:
        output.result(describe(found))
    return 0


def find_model(
    name: str, num_classes: int | None, quiet: bool = False
) -> tuple[models.ImageModel, Preprocessing]:  # fmt: skip
    """The model of this name, or in this folder or file, and how it is given pictures.

    UsageError for an unknown name. quiet: say nothing about a weights file.
    """
    if os.path.isdir(name) or os.path.isfile(name):
        loaded = load_model(name, say=(lambda text: None) if quiet else output.say)
        if num_classes is not None:
            loaded.model.reset_head(num_classes)
        return loaded.model, loaded.preprocessing
    if name not in models.list_models():
        raise UsageError(f"no model {name!r}{nearest(name, models.list_models())}", code="usage.unknown",
                         hint="minires summary lists the models")  # fmt: skip
    with init.without_draws():
        model = models.create(name, num_classes=num_classes)
    return model, models.preprocessing(name)


def picture_size(preprocessing: Preprocessing) -> tuple[int, int]:
    """(height, width); that of a square picture where it depends on the picture. UsageError where nothing is said."""
    size = preprocessing.output_size or preprocessing.resize
    if size is None:
        raise UsageError("this model takes pictures of any size", code="usage.value", hint="give --img-size")
    return size if isinstance(size, tuple) else (size, size)


def describe(found: Summary) -> str:
    """The table and the totals for people."""
    rows = [["layer", "kind", "output", "parameters", "multiply-adds", "memory"]]
    for layer in found.layers:
        size = " x ".join(str(n) for n in layer.output[1:])
        rows.append([layer.name, layer.kind, size, count(layer.parameters), count(layer.multiply_adds),
                     memory(layer.memory)])  # fmt: skip
    trained = (
        "" if found.trainable_parameters == found.parameters else f", {found.trainable_parameters:,} of them trained"
    )
    height, width = found.input[2:]
    return "\n".join([
        output.table(rows, indent=""), "",
        f"parameters     {found.parameters:,}{trained}; with buffers {memory(found.weights_memory)}",
        f"multiply-adds  {found.multiply_adds / 1e9:.3f} G for one picture of {height} x {width} "
        "(convolutions and linear layers)",
        f"activations    {memory(found.activation_memory)} for one picture, if every layer's output is kept",
    ])  # fmt: skip


def count(number: int) -> str:
    """With commas; nothing for 0."""
    return f"{number:,}" if number else ""


def memory(size: int) -> str:
    """Bytes in MB (a million)."""
    return f"{size / 1e6:,.2f} MB"
