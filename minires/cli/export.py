"""`minires export MODEL --output FILE`: a trained model for other programs: ONNX, torch or safetensors."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from minires.cli import output
from minires.cli.options import BASE, Parser, add_common
from minires.errors import MiniresError, UsageError

if TYPE_CHECKING:
    from minires.finetune.loading import LoadedModel

# format -> endings of its files, the first one being usual
ENDINGS = {"onnx": (".onnx",), "pth": (".pth", ".pt", ".bin"), "safetensors": (".safetensors",)}
# what the one output of an ONNX file is called, and what its numbers mean
OUTPUTS = {"classification": "logits", "multi-label": "logits", "ordinal": "cumulative_logits", "regression": "values"}
MEANS = {
    "classification": "softmax gives the classes' probabilities",
    "multi-label": "the logistic function gives each label's probability",
    "ordinal": "the logistic function gives P(rank > k), k = 0 ...; rank = number of logits above 0",
    "regression": "in the units of the labels",
}
TOLERANCE = 1e-3  # outputs of an ONNX file further from the model's than that, relative to the largest, are a fault
EXAMPLES = """  minires export runs/finetune-resnet20-1 --output model.onnx          for onnxruntime and its kin
  minires export runs/finetune-resnet20-1 --output model.onnx --dynamic-size --opset 21
  minires export runs/finetune-resnet20-1 --output model.pth           for torch.load(..., weights_only=True)
  minires export runs/finetune-resnet20-1 --output model.safetensors   one file that minires predict takes, too
  minires export runs/photos/model/delta.safetensors --base resnet50.pth --output merged.safetensors
  minires export resnet50.pth --class-map imagenet.txt --output resnet50.onnx"""


def run(name: str, words: Sequence[str]) -> int:
    """The command."""
    text = ("Write a trained model for other programs; a delta is merged into its base. An ONNX file is compared with "
            "the model if onnxruntime is there.")  # fmt: skip
    parser = Parser(name, text, EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a run folder, the model folder in it, one of its "
                        "checkpoints, a weights file, or the URL of one")  # fmt: skip
    parser.add_argument("--output", metavar="FILE", help="the file to write (one that exists is replaced)")
    parser.add_argument("--format", metavar="TEXT", help=f"{', '.join(ENDINGS)} (default: by the ending of the file)")
    parser.add_argument("--img-size", metavar="N", help="ONNX: side of the pictures (default: the preprocessing's)")
    parser.add_argument("--dynamic-size", action="store_true", help="ONNX: for pictures of any height and width")
    parser.add_argument("--opset", metavar="N", help="ONNX: version of its operators, 18 to 28 (default: the newest of "
                        "these that the installed onnx knows; older programs need an older one)")  # fmt: skip
    parser.add_argument("--base", metavar="FILE", help=BASE)
    parser.add_argument("--class-map", metavar="FILE", help="class names for a weights file: one name a line, or JSON")
    parser.add_argument("--model-name", metavar="NAME", help="which model a weights file holds, if it fits several")
    add_common(parser)
    given = parser.read(words)
    path, kind = _target(given)
    options: dict[str, Any] = {name: _number(given, name) for name in ("img_size", "opset") if name in given}
    if given.get("dynamic_size"):
        options["dynamic_size"] = True
    if options and kind != "onnx":
        flag = "--" + next(iter(options)).replace("_", "-")
        raise UsageError(f"{flag} is for ONNX files: the others hold tensors only", code="usage.conflict")

    from minires.finetune.loading import load_model

    say = (lambda text: None) if given.get("quiet") else output.say
    loaded = load_model(given["model"], given.get("class_map"), given.get("model_name"), base=given.get("base"),
                        say=say, progress=False if given.get("quiet") else None)  # fmt: skip
    found = {"file": path, "format": kind, **WRITERS[kind](loaded, path, **options), "bytes": os.path.getsize(path)}
    if given.get("json"):
        output.result_json(found)
    else:
        output.result(describe(found))
    return 0


def _target(given: dict[str, Any]) -> tuple[str, str]:
    """(path, format). UsageError where there is no path, the format is unknown, or the two do not go together."""
    path, kind = given.get("output"), given.get("format")
    if path is None:
        raise UsageError("give --output FILE, the file to write", code="usage.arguments")
    if kind is not None and kind not in ENDINGS:
        raise UsageError(f"--format is one of {', '.join(ENDINGS)}; got {kind!r}", code="usage.value")
    ending = os.path.splitext(path)[1].lower()
    by_ending = next((each for each, endings in ENDINGS.items() if ending in endings), None)
    if by_ending is None or kind not in (None, by_ending):
        known = ", ".join(ENDINGS[kind]) if kind else ", ".join(endings[0] for endings in ENDINGS.values())
        raise UsageError(f"cannot write {path}: the file's name must end in {known}", code="usage.output", file=path)
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.path.isdir(folder):
        reason = "it is a folder" if os.path.isdir(path) else f"there is no folder {folder}"
        raise UsageError(f"cannot write {path}: {reason}", code="usage.output", file=path)
    for source, what in ((given["model"], "the model to be exported"), (given.get("base"), "its base")):
        if source is not None and os.path.exists(path) and _belongs_to(path, source):
            raise UsageError(f"{path} is a file of {source}, {what}: give --output another name",
                             code="usage.output", file=path)  # fmt: skip
    return path, by_ending


def _belongs_to(path: str, model: str) -> bool:
    """Whether a file is the model itself, or one of the files of a model folder or of a run's models."""
    file, name = os.path.realpath(path), os.path.realpath(model)
    is_model_folder = os.path.isfile(os.path.join(name, "config.json"))
    folders = [name] if is_model_folder else [os.path.join(name, part) for part in ("model", "checkpoints")]
    return file == name or os.path.dirname(file) in folders


def _number(given: dict[str, Any], name: str) -> int:
    text, flag = given[name], "--" + name.replace("_", "-")
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{flag} must be a whole number of at least 1, got {text}", code="usage.value")
    return int(text)


# ------------------------------------------------------------- the writers return what there is to say about the file


def _write_onnx(
    loaded: "LoadedModel", path: str, img_size: int | None = None, dynamic_size: bool = False, opset: int | None = None
) -> dict[str, Any]:  # fmt: skip
    from minires.cli.summary import picture_size
    from minires.onnx import NEWEST, OLDEST, default_opset, export

    opset = default_opset() if opset is None else opset
    if not OLDEST <= opset <= default_opset():
        more = f" ({NEWEST} with a newer onnx)" if default_opset() < NEWEST else ""
        raise UsageError(f"--opset is from {OLDEST} to {default_opset()}{more}, got {opset}", code="usage.value")
    height, width = picture_size(loaded.preprocessing) if img_size is None else (img_size, img_size)
    shape = (1, len(loaded.preprocessing.mode), height, width)
    task = loaded.kind
    name = OUTPUTS[task.name]
    about = None if task.name == "classification" else {"name": task.name, **task.known, "means": MEANS[task.name]}
    try:
        export(loaded.model, path, shape, class_names=loaded.classes or None, preprocessing=loaded.preprocessing,
               task=about, output_name=name, dynamic_size=dynamic_size, opset_version=opset)  # fmt: skip
    except (RuntimeError, ValueError) as error:
        raise MiniresError(f"{loaded.path} cannot be exported for pictures of {height} x {width}: {error}",
                           code="onnx.failed") from error  # fmt: skip
    size = ["height", "width"] if dynamic_size else [height, width]
    sizes = [(height, width), (height + 19, width + 40)] if dynamic_size else [(height, width)]
    return {"input": ["batch", shape[1], *size], "output": name, "opset": opset, "means": MEANS[task.name],
            "difference": _difference(loaded, path, sizes)}  # fmt: skip


def _difference(loaded: "LoadedModel", path: str, sizes: Sequence[tuple[int, int]]) -> float | None:
    """How far the outputs of an ONNX file are from the model's, at worst; None without onnxruntime, which runs it."""
    import numpy as np

    from minires.onnx import compare
    from minires.onnx.comparing import has_onnxruntime
    from minires.tensor import Tensor

    if not has_onnxruntime():
        return None
    worst = 0.0
    for height, width in sizes:
        shape = (2, height, width, len(loaded.preprocessing.mode))
        images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        found = compare(loaded.model, path, Tensor(images.transpose(0, 3, 1, 2)))
        if not found <= TOLERANCE:
            raise MiniresError(f"{path} is not to be used: run by onnxruntime its outputs are {found:.2g} of the "
                               "largest away from the model's", code="onnx.differs", file=path)  # fmt: skip
        worst = max(worst, found)
    return worst


def _write_pth(loaded: "LoadedModel", path: str) -> dict[str, Any]:
    from minires.io import weights

    weights.save(loaded.model, path)
    return {}  # a torch file that `weights_only=True` reads has no place for more


def _write_safetensors(loaded: "LoadedModel", path: str) -> dict[str, Any]:
    from minires.backend import move
    from minires.io import model_directory

    tensors = {name: move(tensor.array, "cpu") for name, tensor in loaded.model.state_dict().items()}
    model_directory.save_file(path, tensors, loaded.model.config, loaded.preprocessing.to_config(), loaded.classes,
                              loaded.record)  # fmt: skip
    return {}


WRITERS: dict[str, Callable[..., dict[str, Any]]] = {
    "onnx": _write_onnx, "pth": _write_pth, "safetensors": _write_safetensors,
}  # fmt: skip


def describe(found: dict[str, Any]) -> str:
    """One or two lines for people."""
    lines = [f"{found['file']}: {found['bytes'] / 1e6:.1f} MB"]
    if found["format"] == "onnx":
        shape = ", ".join(map(str, found["input"]))
        lines[0] += f"; input ({shape}), output {found['output']}, opset {found['opset']}"
        lines[0] += "; class names and preprocessing in its metadata"
        lines.append(f"output: {found['means']}")
        if found["difference"] is None:
            lines.append("not compared with the model, since onnxruntime is not installed")
        else:
            lines.append(f"run by onnxruntime: outputs within {found['difference']:.1g} of the model's largest")
    if found["format"] == "pth":
        lines[0] += "; tensors alone: class names and preprocessing are in the model's folder, or in a .safetensors"
    return "\n".join(lines)
