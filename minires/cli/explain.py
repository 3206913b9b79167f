"""`minires explain MODEL PICTURE... --output FOLDER`: where in a picture a model found what it says."""

import io
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from minires.cli import PARTLY, output
from minires.cli.options import Parser, add_common, nearest
from minires.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from minires.tensor import Tensor

WAYS = ("grad-cam", "guided", "occlusion")
SIDE = 224  # at the least, of each picture that is written
EXAMPLES = """  minires explain runs/finetune-resnet20-1 a.jpg b.jpg --output explained
  minires explain runs/finetune-resnet20-1 photos/cat --output explained --way grad-cam,occlusion --class dog"""


def run(name: str, words: Sequence[str]) -> int:
    """The command. Exit status 3 if some pictures could not be read; the others are explained."""
    parser = Parser(name, "Write for each picture a PNG file: the picture as the model sees it, and beside it, in red, "
                    "what speaks for a class.", EXAMPLES)  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="a run folder, the model folder in it, or a weights file")
    parser.add_argument("inputs", metavar="PICTURE", nargs="+", help="pictures, or folders of them")
    parser.add_argument("--output", metavar="FOLDER", help="where the files go")
    parser.add_argument("--way", metavar="TEXT", help=f"one or more of {', '.join(WAYS)} (default: grad-cam)")
    parser.add_argument("--class", dest="label", metavar="NAME", help="the class in question (default: what is said)")
    add_common(parser)
    given = parser.read(words)
    if given.get("output") is None:
        raise UsageError("give --output, the folder that the pictures go to", code="usage.missing")
    ways = given.get("way", WAYS[0]).split(",")
    for way in ways:
        if way not in WAYS:
            raise UsageError(f"--way is one or more of {', '.join(WAYS)}; got {way!r}", code="usage.value")

    from minires.finetune import inference, load_model
    from minires.io import files

    loaded = load_model(given["model"])
    if loaded.task not in ("classification", "multi-label"):
        raise UsageError(f"explain is for classes, and {loaded.path} is for {loaded.task}", code="usage.conflict")
    wanted = given.get("label")
    if wanted is not None and wanted not in loaded.classes:
        raise UsageError(f"the model has no class {wanted!r}{nearest(wanted, loaded.classes)}", code="usage.unknown")
    paths = inference.find_pictures(given["inputs"])
    files.make_folder(given["output"])
    written: list[dict[str, Any]] = []
    for path in paths:
        try:
            image = loaded.preprocessing.load(path)
        except DataError as error:
            output.say(f"warning: {output.one_line(error.message)}")
            continue
        index = None if wanted is None else loaded.classes.index(wanted)
        pixels, label, share = _explained(loaded, image, index, ways)
        stem = os.path.splitext(os.path.basename(path))[0]
        target = os.path.join(given["output"], f"{len(written) + 1:04d}-{stem}.png")  # two may be called the same
        files.write_atomic(target, pixels)
        written.append({"path": path, "label": label, "prob": share, "file": target})
        if not given.get("json"):
            output.result(f"{path}: {label} {share:.1%}, {target}")
    if given.get("json"):
        output.result_json({"ways": ways, "pictures": written})
    return PARTLY if len(written) < len(paths) else 0


def _explained(loaded: Any, image: "Tensor", index: int | None, ways: Sequence[str]) -> tuple[bytes, str, float]:
    """A PNG file of the picture and its maps side by side, the class in question, and its probability."""
    import numpy as np
    from PIL import Image

    from minires.autograd import no_grad
    from minires.ops import stack
    from minires.report.pictures import heated, visible

    with no_grad():
        values = loaded.kind.values(loaded.model(stack([image])).numpy())[0]
    index = int(values.argmax()) if index is None else index
    plain = visible(image.numpy(), loaded.preprocessing)
    parts = [plain, *(heated(plain, _maps()[way](loaded.model, image, index)) for way in ways)]
    figure = Image.fromarray(np.concatenate(parts, axis=1))
    times = max(1, -(-SIDE // figure.height))
    figure = figure.resize((figure.width * times, figure.height * times), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    figure.save(stream, "PNG")
    return stream.getvalue(), loaded.classes[index], float(values[index])


def _maps() -> "dict[str, Callable[[Any, Tensor, int], np.ndarray]]":
    """Way -> the map (H, W), 0 to 1, of what speaks for a class in a picture (C, H, W)."""
    import numpy as np

    from minires import explain
    from minires.ops import stack

    def of_cam(model: Any, image: Any, index: int) -> np.ndarray:
        return explain.enlarge(explain.grad_cam(model, stack([image]), [index]), *image.shape[1:])[0]

    def of_guided(model: Any, image: Any, index: int) -> np.ndarray:
        strength = np.abs(explain.guided_gradients(model, stack([image]), [index])[0]).max(axis=0)
        return _to_one(strength)

    def of_occlusion(model: Any, image: Any, index: int) -> np.ndarray:
        size = max(1, min(image.shape[1:]) // 4)
        falls = explain.occlusion(model, image, index, size=size, stride=max(1, size // 2))
        return explain.enlarge(_to_one(falls)[None], *image.shape[1:])[0]

    return {"grad-cam": of_cam, "guided": of_guided, "occlusion": of_occlusion}


def _to_one(values: "np.ndarray") -> "np.ndarray":
    """Values from 0 to 1: negative ones are 0, the largest is 1."""
    positive = values.clip(0, None)
    return positive / positive.max() if positive.max() > 0 else positive
