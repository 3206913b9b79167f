"""Wrong use: exit status 2, one line that names the culprit, and nothing created."""

import json
import os
import stat

import pytest

from minires import cli
from minires.errors import UsageError
from minires.finetune import recipe
from minires.finetune.settings import Settings
from tests.cli.helpers import tree
from tests.data.helpers import make_folder
from tests.finetune.helpers import make_weights


@pytest.fixture
def place(tmp_path, monkeypatch):
    make_folder(tmp_path / "photos", {"cat": 6, "dog": 6})
    make_weights(tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINIRES_DEBUG", raising=False)
    return tmp_path


def refused(capsys, *words: str) -> str:
    """The one line on stderr of a command line that exits with 2."""
    status = cli.main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert (status, out) == (2, ""), err
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("minires: error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fintune"], "did you mean finetune?"),
        (["finetune", "--epocs", "3"], "no flag --epocs; did you mean --epochs?"),
        (["finetune", "--epocs=3"], "no flag --epocs; did you mean --epochs?"),
        (["finetune", "--freez", "none"], "did you mean --freeze?"),
        (["predict", "model", "a.jpg", "--top-k", "3"], "did you mean --topk?"),
        (["finetune", "--epoch", "3"], "did you mean --epochs?"),
        (["finetune", "--sync-bn"], "--sync-bn is not built yet"),
        (["finetune", "--device", "cuda", "--data", "digits"], "--device cuda: CUDA needs"),
        (["finetune", "--device", "gpu", "--data", "digits"], "--device is cpu, cuda, cuda:N or auto"),
        (["finetune", "--amp", "--data", "digits"], "--amp float16 is for a GPU"),
        (["finetune", "--amp-dtype", "bfloat16"], "here it is --amp float16 or --amp bfloat16"),
        (["finetune", "--imgsz", "64"], "here it is --img-size"),
        (["finetune", "photos"], "unexpected argument 'photos'; did you mean --data photos?"),
        (["train", "data=photos", "epochs=3"], "did you mean --data photos?"),
        (["train", "batch=16"], "here it is --batch-size"),
        (["summary", "resnet20", "photos"], "unexpected argument 'photos' ("),
        (["finetune", "--batch_size", "3"], "did you mean --batch-size?"),
        (["finetune", "--learning_rate", "3"], "here it is --lr"),
        (["finetune", "--gpu", "0"], "here it is --device"),
        (["evaluate", "--model", "run"], "here the model comes first, without a flag (minires evaluate MODEL"),
        (["finetune", "--epochs"], "--epochs: expected one argument"),
        (["finetune"], "no data given"),
        (["predict"], "required: MODEL, INPUT"),
    ],
)
def test_flags(place, capsys, words, expected):
    before = tree(place)
    assert expected in refused(capsys, *words)
    assert tree(place) == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--lr", "nan"], "--lr must be above 0, got nan"),
        (["--lr", "0"], "--lr must be above 0"),
        (["--lr", "fast"], "--lr takes a number, got 'fast'"),
        (["--epochs", "-1"], "--epochs must be at least 1, got -1"),
        (["--epochs", "2.5"], "--epochs takes a whole number"),
        (["--val-split", "1.0"], "--val-split is a fraction from 0 up to but not including 1"),
        (["--val-split", "0.6", "--test-split", "0.5"], "together below 1"),
        (["--val-split", "missing"], "missing"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--batch-size", "1"], "batch norm cannot learn statistics"),
        (["--opt", "adamm"], "did you mean 'adam'?"),
        (["--sched", "cosin"], "did you mean 'cosine'?"),
        (["--model", "resnet21"], "did you mean 'resnet20'?"),
        (["--freeze", "layer9"], "did you mean 'layer"),
        (["--freeze", "stem,layer1,layer2,layer3,head"], "nothing is left to train"),
        (["--head", "big"], '--head is "linear" or sizes'),
        (["--weights", "none.safetensors"], "no weights file"),
        (["--model", "resnet50", "--weights", "ResNet50_Weights.IMAGENET1K_V2"], "give the path or the URL of a file"),
        (["--model", "resnet50", "--weights", "IMAGENET1K_V2"], "give the path or URL of a weights file"),
        (["--model", "timm/resnet50.a1_in1k"], "here it is resnet50, and its weights are a file"),
        (["--weights", "none", "--freeze", "all-but-head"], "gives none to keep"),
        (["--group-by", "("], "is not a regular expression"),
        (["--smoothing", "1"], "--smoothing must be at least 0 and below 1"),
        (["--resume"], "--resume alone goes on with the newest run in runs"),
        (["--resume", "auto"], "--resume auto needs --output"),
        (["--resume", "nowhere"], "not a run folder"),
        (["--scale", "1,0.5"], "smaller first"),
        (["--sched", "multistep"], "needs --decay-milestones"),
        (["--task", "regression"], "regression takes a CSV table"),
        (["--class-map", "missing.txt"], "missing.txt"),
    ],
)
def test_values(place, capsys, words, expected):
    before = tree(place)
    weights = [] if "--weights" in words else ["--weights", "weights"]
    assert expected in refused(capsys, "finetune", "--data", "photos", *weights, *words)
    assert tree(place) == before


def test_a_key_of_a_configuration_file(place, capsys):
    (place / "run.toml").write_text('data = "photos"\nepochss = 3\n')
    before = tree(place)
    assert "run.toml: no setting 'epochss'; did you mean epochs?" in refused(capsys, "finetune", "-c", "run.toml")
    (place / "run.toml").write_text('data = "photos"\nepochs = "3"\n')
    assert "run.toml: --epochs is a number, written without quotes; got '3'" in refused(
        capsys, "finetune", "-c", "run.toml"
    )
    (place / "run.toml").write_text("data = photos\n")
    assert "run.toml" in refused(capsys, "finetune", "-c", "run.toml")
    assert "missing.toml" in refused(capsys, "finetune", "-c", "missing.toml")
    assert tree(place) == before


def test_data_folders(place, capsys):
    make_folder(place / "single", {"cat": 4})
    (place / "empty").mkdir()
    (place / "hollow" / "cat").mkdir(parents=True)
    (place / "hollow" / "dog").mkdir()
    before = tree(place)
    for folder, expected in (
        ("missing", "missing"),
        ("empty", "no class folders in empty"),
        ("hollow", "no pictures in the class folders of hollow"),
        ("single", "only one class ('cat')"),
    ):
        assert expected in refused(capsys, "finetune", "--data", folder, "--weights", "none")
    assert tree(place) == before


def test_output_folders(place, capsys):
    (place / "full").mkdir()
    (place / "full" / "thesis.txt").write_text("mine")
    (place / "file").write_text("mine")
    before = tree(place)
    words = ["finetune", "--data", "photos", "--weights", "none", "--output"]
    assert "full is not empty" in refused(capsys, *words, "full")
    assert "file is not a folder" in refused(capsys, *words, "file")
    assert "file/run" in refused(capsys, *words, "file/run")
    assert "--overwrite replaces runs and nothing else" in refused(capsys, *words, "full", "--overwrite")
    assert tree(place) == before


def test_no_run_among_the_pictures(place, capsys, monkeypatch):
    """Its folders would be classes of the next run. Beside the folders of the splits it is in nobody's way."""
    before = tree(place)
    words = ["finetune", "--weights", "none", "--data"]
    for output in ("photos", "photos/run", "photos/cat/run"):
        for flags in ([], ["--overwrite"], ["--dry-run"]):
            expected = f"--output {output} is among the pictures of photos"
            assert expected in refused(capsys, *words, "photos", "--output", output, *flags)
    monkeypatch.chdir(place / "photos")
    assert "the folder runs/ of this run is among the pictures of ." in refused(capsys, *words, ".")
    assert tree(place) == before
    split = Settings(data=str(place / "split"))
    make_folder(place / "split" / "train", {"cat": 1, "dog": 1})
    recipe.refuse_folder_among_pictures(str(place / "split" / "runs"), split)
    for folder in ("train", "val/run", "test"):
        with pytest.raises(UsageError, match="among the pictures"):
            recipe.refuse_folder_among_pictures(str(place / "split" / folder), split)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('overwrite = "no"', "--overwrite takes true or false, got 'no'"),
        ("overwrite = 0", "--overwrite takes true or false, got 0"),
        ('accept_data_change = "no"', "--accept-data-change takes true or false"),
        ("output = 3", "--output is the path of a folder, got 3"),
        ("resume = 1", "--resume is the path of a folder, got 1"),
        ('command = "train"', "run.toml is of a run of minires train"),
    ],
)
def test_where_and_how_in_a_configuration_file(place, capsys, line, expected):
    (place / "run.toml").write_text(f'data = "photos"\n{line}\n')
    before = tree(place)
    assert expected in refused(capsys, "finetune", "-c", "run.toml")
    assert expected in refused(capsys, "finetune", "-c", "run.toml", "--dry-run")
    assert tree(place) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(place, capsys):
    locked = place / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    words = ["finetune", "--data", "photos", "--weights", "none", "--output", "locked/run"]
    assert "locked/run" in refused(capsys, *words)
    assert tree(place / "locked") == []


def test_as_json(place, capsys):
    assert cli.main(["finetune", "--data", "photos", "--lr", "nan", "--json"]) == 2
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]
    assert error["code"] == "usage.value" and "--lr" in error["message"]
    assert set(error) == {"code", "message", "file", "hint"}
    assert "Traceback" not in err


def test_debugging_shows_a_traceback(place, capsys, monkeypatch):
    monkeypatch.setenv("MINIRES_DEBUG", "1")
    assert cli.main(["finetune", "--epocs", "1"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.delenv("MINIRES_DEBUG")
    assert cli.main(["finetune", "--lr", "nan", "--data", "photos", "-vv"]) == 2
    assert "Traceback" in capsys.readouterr().err
