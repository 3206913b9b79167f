"""benchmarks/gpu.py without a GPU: every kind of row is run, tiny, on the stand-in and on PyTorch's CPU side."""

import json

import pytest

from benchmarks import gpu, gpu_rows
from minires.kernels.cuda import autotune
from tests.cuda.harness import needs_emulator

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def switches_of_torch():
    """The benchmark sets them; afterwards they are as they were."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before


@needs_emulator
def test_dry_run(stand_in, tmp_path, capsys):
    assert gpu.main(["--dry", "--output", str(tmp_path / "found")]) == 0
    report = json.loads((tmp_path / "found.json").read_text())
    table = (tmp_path / "found.txt").read_text()
    assert report["dry"] and len(report["rows"]) == len(list(gpu_rows.rows(dry=True))) == 18
    for row in report["rows"]:
        assert row["milliseconds"]["minires"] > 0 and row["ratios"] and row["name"] in table
    assert capsys.readouterr().out.count("ms:") == 18
    assert {row["type"] for row in report["rows"]} == set(gpu_rows.TYPES) and set(gpu_rows.TYPES) < set(report["roof"])
    assert any("graph" in row["ratios"] for row in report["rows"])
    convolutions = [row for row in report["rows"] if row["name"].startswith("conv")]
    for row in convolutions:
        ((layer, trial),) = row["ways"].items()
        assert row["name"].split("/1 at 5 ")[1].replace(" ", "_") in layer and len(trial["milliseconds"]) >= 2
        assert f"by {trial['chosen']}" in next(text for text in table.splitlines() if text.startswith(row["name"]))
    assert len(convolutions) == 9 and not autotune.is_on() and report["autotune"]


@needs_emulator
def test_by_rules_of_thumb(stand_in, tmp_path):
    words = ["--dry", "--no-autotune", "--only", "conv tf32", "--output", str(tmp_path / "found")]
    assert gpu.main(words) == 0
    report = json.loads((tmp_path / "found.json").read_text())
    assert not report["autotune"] and [row["ways"] for row in report["rows"]] == [{}] * 3


def test_a_kernel_that_does_not_end_ends_the_run_and_leaves_the_report(stand_in, tmp_path, monkeypatch, capsys):
    def never(*given):
        raise TimeoutError("the GPU has not ended after 60 s: forward")

    monkeypatch.setattr(gpu, "figures", never)
    monkeypatch.setattr(gpu.Clock, "compare", lambda clock, sides: dict.fromkeys(sides, 1.0))
    assert gpu.main(["--dry", "--only", "conv", "--output", str(tmp_path / "found")]) == 0
    (row,) = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert row["reason"].endswith("the GPU has not ended after 60 s: forward")
    autotune.switch_off()


def test_what_there_is_no_time_for_is_listed(stand_in, tmp_path):
    assert gpu.main(["--dry", "--minutes", "-1", "--only", "conv", "--output", str(tmp_path / "found")]) == 0
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert len(rows) == 9 and all(row["reason"] == "not measured: no time left" for row in rows)


def test_without_a_gpu_one_line(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    assert gpu.main([]) == 1
    assert capsys.readouterr().err.startswith("CUDA needs CuPy")


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_both_sides_have_the_same_network(name):
    from tests.torch_resnet import TorchResNet

    theirs = gpu_rows.network(name, object())
    assert isinstance(theirs, TorchResNet)
    shapes = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    assert shapes == {key: value.shape for key, value in gpu_rows.network(name).state_dict().items()}


def test_the_layers_are_those_of_a_resnet50():
    import minires as mr

    seen = {(layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0])
            for layer in mr.models.create("resnet50").modules() if isinstance(layer, mr.nn.Conv2d)}  # fmt: skip
    assert seen == {layer[1:] for layer in gpu_rows.CONVOLUTIONS}
