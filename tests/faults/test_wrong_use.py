"""Wrong use of every command that has settings: exit status 2, one line that names the culprit, and nothing created.

tests/cli/test_wrong_use.py has the single messages; here stands what must hold for all of them: the words as text, from
a file, through the API and resumed, with the same answer and an empty folder afterwards.
"""

import pytest

from minires import finetune as package
from minires.cli.habits import NOT_BUILT, NOT_NEEDED, OTHER_NAMES
from minires.errors import UsageError
from minires.finetune.settings import FIELDS
from tests.cli.helpers import tree
from tests.faults.leaks import nothing_left
from tests.faults.runs import Place, assert_one_line, check, here

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("use") / "place")


def refused(place, words: list[str], *expected: str) -> str:
    before = tree(place.folder)
    with nothing_left(place.folder):
        answer = check(here(words), 2)
    assert answer.out == "" and tree(place.folder) == before
    return assert_one_line(answer, *expected)


VALUES = {
    "lr": ("nan", "0", "-1", "fast"), "epochs": ("-1", "0", "2.5"), "val_split": ("1.0", "-0.1", "nan"),
    "batch_size": ("0", "many"), "weight_decay": ("inf", "-1"), "max_time": ("0", "soon", "5 minutes", "-1s", "nan"),
    "checkpoint_interval": ("0", "0m", "often"), "class_weights": ("2", "rare", "nan"), "grad_accum_steps": ("0",),
    "interpolation": ("cubical",), "loss": ("mse", "crossentropy"), "eval_metric": ("f2",), "ratio": ("2,1", "1"),
    "val_interval": ("0",), "lr_base": ("-1",), "num_classes": ("0",), "log_interval": ("0",), "smoothing": ("1",),
}  # fmt: skip


@pytest.mark.fault(
    "a senseless value of any setting, by flag, file, API or resume",
    "exit status 2, one line, nothing created",
)
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in VALUES.items() for value in values])
def test_a_senseless_value_from_any_side(place, tmp_path, name, value):
    flag = "--" + name.replace("_", "-")
    words = place.words(place.folder / "run")
    assert flag in refused(place, [*words, f"{flag}={value}"])
    config = tmp_path / "run.toml"
    config.write_text(f'{name} = "{value}"\n')
    if flag not in words and name != "batch_size":  # -b is among the words, and flags come first
        assert flag in refused(place, [*words, "-c", str(config)])
    with pytest.raises(UsageError, match=flag):
        package.finetune(data=str(place.folder / "photos"), **{name: value})


TOGETHER = {
    "--lr 0.1 --lr-base 0.1": "--lr and --lr-base",
    "--val-resize-size 8 --val-crop-size 16": "--val-crop-size 16 does not fit",
    "--val-resize-size 4096 --val-crop-size 0": "--val-crop-size must be at least 8",
    "--loss bce --class-weights balanced": "--class-weights goes with --loss ce",
    "--loss focal --smoothing 0.1": "--smoothing goes with",
    "--device cuda": "--device cuda: CUDA needs",
    "--device cuda:1": "--device cuda:1: CUDA needs",
    "--device mps": "--device is cpu, cuda, cuda:N or auto; got 'mps'",
    "--amp": "--amp float16 is for a GPU",
    "--amp bf16": "--amp bf16 is for a GPU",
    "--device auto --amp tf32": "--amp is one of float16, bfloat16",
    "--num-classes 5": "has 3 classes (blue, green, red)",
    "--dry-run --resume": "--dry-run tries a run that is to begin",
    "--dry-run --compare": "--dry-run tries one training",
    "--overwrite --resume": "exclude each other",
}  # fmt: skip


@pytest.mark.parametrize("words", TOGETHER)
def test_words_that_do_not_go_together(place, words):
    output = place.folder / "whole"
    if "--resume" in words:
        place.whole()
        refused(place, ["finetune", "--output", str(output), *words.split()], TOGETHER[words])
        return
    usual = [word for word in place.words(place.folder / "run") if word not in ("--lr", "0.02")]
    refused(place, [*usual, *words.split()], TOGETHER[words])


@pytest.mark.fault(
    "flags of timm, torchvision and Ultralytics that mean something else here",
    "the right name is answered",
)
@pytest.mark.parametrize("command", ["finetune", "train"])
def test_what_people_type_out_of_habit_is_answered(command):
    for word in (*NOT_BUILT, *OTHER_NAMES, *NOT_NEEDED):
        line = assert_one_line(check(here([command, word, "1"]), 2), word)
        if word in OTHER_NAMES:
            assert OTHER_NAMES[word].split()[0].rstrip(",") in line


def test_the_right_names_exist():
    """What a habit is sent to is a flag of a command, or a setting of one."""
    flags = {"--" + name.replace("_", "-") for name in FIELDS} | {"--output", "--overwrite", "--resume", "--config"}
    flags |= {"--topk", "--format", "--dry-run", "minires", "the"}  # of predict, and words instead of a flag
    assert {answer.split()[0].rstrip(",") for answer in OTHER_NAMES.values()} <= flags


HABITS = {  # a recipe as its users type it; only the data's name and the sizes are ours
    "torchvision": "--data-path D --weights W --epochs 1 -b 6 --lr 0.01 --momentum 0.9 --wd 1e-4 --lr-scheduler "
                   "cosineannealinglr --lr-warmup-epochs 1 --lr-min 0 --label-smoothing 0.1 --random-erase 0.1 "
                   "--norm-weight-decay 0 --train-crop-size 8 --val-resize-size 10 --val-crop-size 8 --print-freq 1 "
                   "--device cpu --workers 0 --output-dir O --clip-grad-norm 1 --interpolation bicubic "
                   "--use-deterministic-algorithms --opt sgd",
    "torchvision steps": "--data-path D --weights W --epochs 2 --batch-size 6 --lr 0.01 --lr-scheduler steplr "
                         "--lr-step-size 1 --lr-gamma 0.1 --output-dir O --opt sgd -j 0",
    "timm": "--data-dir D --weights W --epochs 1 -b 6 -vb 6 --opt adamw --lr-base 0.1 --lr-base-size 256 "
            "--weight-decay 0.05 --sched cosine --warmup-epochs 1 --warmup-lr 1e-5 --min-lr 1e-5 --smoothing 0.1 "
            "--scale 0.5,1 --ratio 0.8,1.25 --hflip 0.5 --vflip 0.1 --color-jitter 0.2 --reprob 0.1 --clip-grad 1 "
            "--img-size 8 --num-classes 3 --seed 7 --log-interval 1 --val-interval 1 --recovery-interval 2 "
            "--checkpoint-hist 1 --grad-accum-steps 2 --eval-metric top1 --output O --no-aug",
    "Ultralytics": "--data D --weights W --epochs 1 --batch-size 6 --patience 100 --optimizer adamw --lr 0.01 "
                   "--momentum 0.9 --weight-decay 5e-4 --warmup-epochs 1 --degrees 10 --hflip 0.5 --seed 0 "
                   "--max-time 1h --device cpu --output O",
}  # fmt: skip


@pytest.mark.parametrize("whose", HABITS)
def test_recipes_of_others_run_as_they_are_typed(place, tmp_path, whose):
    names = {"D": place.folder / "photos", "W": place.folder / "weights", "O": tmp_path / "run"}
    words = [str(names.get(word, word)) for word in HABITS[whose].split()]
    answer = check(here(["finetune", *words]), 0)
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    if whose == "timm":
        assert f"lr {0.1 * (12 / 256) ** 0.5:g}" in answer.err, "the rate that comes of --lr-base is shown"
    if "--use-deterministic-algorithms" in words:
        assert "every run is deterministic" in answer.err
