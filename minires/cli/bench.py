"""`minires bench`: how fast a model runs on this machine, and where its time goes."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from minires import backend, backends, profiler
from minires.cli import output
from minires.cli.options import DEVICE, Parser, add_common
from minires.cli.summary import count, find_model, picture_size
from minires.errors import UsageError
from minires.finetune.devices import AMP, describe_device, find_device
from minires.profiler import bench
from minires.profiler.roofline import Roofline
from minires.training.precision import dtype_name

EXAMPLES = """  minires bench resnet50                         inference and training, 16 pictures of 224 x 224
  minires bench resnet20 -b 128 --training --profile
  minires bench resnet18 --inference --trace trace.json       for ui.perfetto.dev
  minires bench runs/finetune-resnet20-1 -b 1 --json
  minires bench resnet50 --device cuda --amp bf16 -b 256 --autotune"""


def run(name: str, words: Sequence[str]) -> int:
    """The command."""
    parser = Parser(name, "Time a model on this machine; see where the time goes.", EXAMPLES)
    parser.add_argument("model", metavar="NAME", nargs="?", default="resnet50", help="a model, or a run (resnet50)")
    parser.add_argument("-b", "--batch-size", type=int, default=16, metavar="N", help="pictures a batch (16)")
    parser.add_argument("--img-size", type=int, metavar="N", help="side of the picture (default: the model's usual)")
    parser.add_argument("--inference", action="store_true", help="time inference only")
    parser.add_argument("--training", action="store_true", help="time training steps only")
    parser.add_argument("--device", metavar="TEXT", default="cpu", help=DEVICE)
    parser.add_argument("--amp", nargs="?", const=AMP[0], choices=AMP, help="on a GPU: mixed precision, float16 where "
                        "no type is given")  # fmt: skip
    parser.add_argument("--plain", action="store_true", help="inference without compile_inference, as always on a GPU")
    parser.add_argument(
        "--autotune",
        action="store_true",
        help="first try which algorithm is the fastest for each convolution (on the CPU: of the training step)",
    )
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="timed passes (7)")
    parser.add_argument("--profile", action="store_true", help="also a table of kernels and operations")
    parser.add_argument("--by-shape", action="store_true", help="in that table, one row for each shape; with "
                        "--autotune on a GPU, the way of each convolution")  # fmt: skip
    parser.add_argument("--trace", metavar="FILE", help="write one pass as a Chrome trace")
    add_common(parser)
    given = parser.read(words)
    for flag in ("batch_size", "img_size", "repeats"):
        if given.get(flag, 1) < 1:
            raise UsageError(f"--{flag.replace('_', '-')} must be at least 1, got {given[flag]}", code="usage.value")
    place, amp = find_device(given["device"], given.get("amp")), dtype_name(given.get("amp"))
    on_gpu = place.type == "cuda"
    wanted = [work for work in bench.WORK if given.get(work)] or list(bench.WORK)
    model, preprocessing = find_model(given["model"], None)
    height, width = (given["img_size"],) * 2 if "img_size" in given else picture_size(preprocessing)
    shape = (given["batch_size"], model.config.get("in_channels", 3), height, width)
    roofline = profiler.measure_gpu_roofline(product_type(amp)) if on_gpu else profiler.measure_roofline()
    found: dict[str, Any] = {"model": given["model"], "shape": list(shape), "device": str(place), "amp": amp,
                             "threads": roofline.threads, "gpu": roofline.gpu or None, "product_flops": roofline.flops,
                             "copy_bytes": roofline.bytes, "work": []}  # fmt: skip
    if given.get("autotune"):
        (backends.cudnn if on_gpu else backends.cpu).benchmark = True
    texts = []
    for work in wanted:
        backends.cudnn.trials.clear()
        how: dict[str, Any] = {"compiled": not given.get("plain"), "device": place, "amp": amp}
        speed = bench.measure(model, shape, work, given["repeats"], **how)
        entry = speed.to_dict(roofline)
        if on_gpu and given.get("autotune"):
            entry["ways"] = {layer: trial._asdict() for layer, trial in backends.cudnn.trials.items()}
            if given.get("by_shape"):
                texts.append(output.table([["convolution", "by", "ms of each way, where they were timed"],
                                           *map(_way, entry["ways"], entry["ways"].values())]))  # fmt: skip
        if given.get("profile") or given.get("trace"):
            seen = profile_once(bench.make_step(model, shape, work, **how), place)
            rows = seen.key_averages(bool(given.get("by_shape")))
            entry["profile"] = [row.to_dict() for row in rows]
            if given.get("profile"):
                texts.append(f"{work}, one pass: {profiler.table(rows, roofline)}")
            if given.get("trace"):
                seen.export_chrome_trace(trace_path(given["trace"], work, wanted))
        found["work"].append(entry)
    if given.get("json"):
        output.result_json(found)
    else:
        output.result("\n\n".join([describe(found, roofline), *texts]))
    return 0


def product_type(amp: str | None) -> str:
    """What most products on a GPU are computed in, convolutions among them."""
    return amp or ("tf32" if backends.cudnn.allow_tf32 else "float32")


def profile_once(step: Callable[[], object], place: backend.device) -> profiler.profile:
    """One pass, recorded, after one to warm up."""
    step()
    with profiler.profile(place) as seen:
        step()
    return seen


def trace_path(path: str, work: str, wanted: Sequence[str]) -> str:
    """`path`; with two kinds of work, a name for each."""
    stem, dot, suffix = path.rpartition(".")
    return path if len(wanted) == 1 else f"{stem}-{work}.{suffix}" if dot else f"{path}-{work}"


def describe(found: dict[str, Any], roofline: Roofline) -> str:
    """The figures for people."""
    rows = [["", "ms", "best", "pictures/s", "GFLOP/s", "of the peak"], *map(_row, found["work"])]
    batch, channels, height, width = found["shape"]
    where, product, note = roofline.where, "this machine's float32 matrix product", (
        "; GFLOP/s by the definition of the operations, so that Winograd's savings count as speed")  # fmt: skip
    if roofline.gpu:
        where = describe_device(backend.device(found["device"]), found["amp"])
        product, note = f"the matrix product of {roofline.gpu}", ""
    return "\n".join([
        f"{found['model']}, {count(batch)} pictures of {channels} x {height} x {width}, {where}",
        output.table(rows),
        *(_ways(entry) for entry in found["work"] if "ways" in entry),
        f"peak: {roofline.flops / 1e9:.0f} GFLOP/s, {product}{note}",
    ])  # fmt: skip


def _way(layer: str, trial: dict[str, Any]) -> list[str]:
    times = ", ".join(f"{way} {value:.3f}" for way, value in trial["milliseconds"].items())
    return [layer, str(trial["chosen"]), times]


def _ways(entry: dict[str, Any]) -> str:
    """How many of the convolutions, and of their gradients, are computed in which way."""
    ways = Counter(str(trial["chosen"]) for trial in entry["ways"].values())
    return f"{entry['work']}, convolutions by " + ", ".join(f"{way} ({times})" for way, times in ways.most_common())


def _row(entry: dict[str, Any]) -> list[str]:
    return [
        entry["work"], f"{1e3 * entry['median']:.1f}", f"{1e3 * min(entry['seconds']):.1f}",
        f"{entry['images_per_second']:.1f}", f"{entry['flops_per_second'] / 1e9:.0f}",
        f"{entry['part_of_product_peak']:.0%}",
    ]  # fmt: skip
