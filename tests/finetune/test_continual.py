"""--from RUN: old classes keep their numbers and rows, rehearsal, distillation, forgetting, resume to the same bits."""

import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires import models, nn, random
from minires.data import ArrayDataset, FileDataset
from minires.errors import DataError, UsageError
from minires.finetune import evaluate_model, finetune, load_model, replace_head
from minires.finetune.comparison import compare
from minires.finetune.distillation import Distillation
from minires.finetune.folds import cross_validate
from minires.finetune.growing import grow_head, merge_classes, namesakes, reindexed
from minires.finetune.heads import last_linear
from minires.finetune.inference import predict
from minires.finetune.old_task import forgetting
from minires.finetune.rehearsal import draw, stored
from minires.finetune.strategies.choosing import SMALL
from minires.io import model_directory, toml
from minires.tensor import Tensor
from tests.finetune.helpers import SAME_IN_EQUAL_RUNS, contents, make_photos, make_weights

NEW = {"black": (10, 10, 10), "white": (245, 245, 245)}
SHAPES = {"epochs": 1, "batch_size": 8, "patience": 0, "lr": 0.01}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders of pictures, and a run "first" on blue, green and red that has stored two pictures of each."""
    root = tmp_path_factory.mktemp("continual")
    make_photos(root / "photos")
    make_photos(root / "more", colours=NEW)
    make_photos(root / "one", colours={"amber": (250, 180, 20)})
    finetune(data=str(root / "photos"), weights=str(make_weights(root / "weights")), output=str(root / "first"),
             store_rehearsal=2, **{**SHAPES, "epochs": 4, "lr": 0.03})  # fmt: skip
    return root


def further(place, output, **more):
    given = {"from_run": str(place / "first"), "data": str(place / "more"), "output": str(output), **SHAPES, **more}
    return finetune(**given)


def rows_of(model):
    layer = last_linear(model)
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


# ------------------------------------------------------------------------------------------------- classes and heads

NAMES = st.lists(st.text("abcdef", min_size=1, max_size=3), unique=True, min_size=1, max_size=6)


@given(NAMES, NAMES)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_old_classes_keep_their_numbers_whatever_is_new(old, new):
    classes = merge_classes(old, new)
    assert classes[: len(old)] == old
    assert sorted(classes) == sorted({*old, *new})
    assert [name for name in new if name not in old] == classes[len(old) :]


@pytest.mark.parametrize(
    ("order", "code"),
    [(["dog", "cat", "emu"], "data.class_order"), (["cat"], "data.class_order"), (["emu"], "data.class_order"),
     (["cat", "dog"], "data.class_map")],
)  # fmt: skip
def test_an_order_that_contradicts_the_old_one_is_refused(order, code):
    with pytest.raises(UsageError) as caught:
        merge_classes(["cat", "dog"], ["emu"], order)
    assert caught.value.code == code


def test_an_order_that_goes_on_is_taken():
    assert merge_classes(["b", "a"], ["c", "d"], ["b", "a", "d", "c"]) == ["b", "a", "d", "c"]
    assert namesakes(["Cat", "dog"], ["cat ", "dog", "emu"]) == [("cat ", "Cat")]


@pytest.mark.parametrize("hidden", [(), (6,)])
def test_old_rows_keep_their_bits_and_new_ones_are_their_mean(hidden):
    with random.address(3, "grow"):
        model = models.create("cifar_resnet", depth=8, num_classes=3)
        replace_head(model, 3, hidden)
    weight, bias = rows_of(model)
    weight, bias = weight.copy(), bias.copy()
    grow_head(model, 5)
    longer, biases = rows_of(model)
    assert (longer[:3] == weight).all() and (biases[:3] == bias).all()
    np.testing.assert_allclose(longer[3:], np.repeat(weight.mean(0, keepdims=True), 2, 0), rtol=1e-6)
    np.testing.assert_allclose(biases[3:], bias.mean(), rtol=1e-6)
    assert model.config["num_classes"] == 5 and model(Tensor(np.zeros((2, 3, 8, 8), np.float32))).shape == (2, 5)
    with pytest.raises(ValueError, match="does not grow to 4"):
        grow_head(model, 4)


def test_labels_count_in_other_classes():
    arrays = ArrayDataset(np.zeros((3, 4, 4), np.uint8), np.array([0, 1, 1]), classes=["b", "a"])
    files = FileDataset([("x", 0), ("y", 1)], ["b", "a"], ".")
    found = reindexed({"arrays": arrays, "files": files}, ["a", "z", "b"])
    assert found["arrays"].targets.tolist() == [2, 0, 0] and found["files"].targets == [2, 0]
    assert reindexed(found, ["a", "z", "b"])["files"] is found["files"]
    with pytest.raises(ValueError, match="'b'"):
        reindexed({"files": files}, ["a"])


# ------------------------------------------------------------------------------------------------------ distillation


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_distillation_is_the_divergence_on_the_old_scores(temperature):
    rng = np.random.default_rng(0)
    student, teacher = nn.Linear(4, 5), nn.Linear(4, 3)
    x = Tensor(rng.normal(size=(6, 4)).astype(np.float32))
    targets = Tensor(rng.integers(0, 5, 6))
    plain = nn.CrossEntropyLoss()
    loss = Distillation(plain, student, teacher.eval(), 0.7, temperature)
    outputs = student(x)
    value = loss(outputs, targets)
    p, q = (np.exp(each / temperature) for each in (teacher(x).detach().numpy(), outputs.detach().numpy()[:, :3]))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    expected = float(plain(outputs, targets).detach()) + 0.7 * temperature**2 * (p * np.log(p / q)).sum(1).mean()
    np.testing.assert_allclose(float(value.detach()), expected, rtol=1e-5)
    value.backward()
    assert teacher.weight.grad is None and student.weight.grad is not None


def test_distillation_of_what_is_not_forgotten_is_nothing_and_moves_nothing():
    with random.address(1, "distil"):
        teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    student.load_state_dict(teacher.state_dict())
    loss = Distillation(lambda outputs, targets: (outputs * 0).sum(), student, teacher, 1.0)
    x = Tensor(np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32))
    value = loss(student(x), None)
    value.backward()
    assert abs(float(value.detach())) < 1e-6 and np.abs(student.weight.grad.numpy()).max() < 1e-6
    with pytest.raises(RuntimeError, match="without the model's forward"):
        loss(teacher(x), None)
    student.eval()
    outputs = student(x)
    with pytest.raises(RuntimeError, match="in training"):
        loss(outputs, None)
    with pytest.raises(ValueError, match="above 0"):
        Distillation(loss, student, teacher, 0.0)


# --------------------------------------------------------------------------------------------------------- forgetting


def test_forgetting_against_counting_by_hand():
    before = np.eye(2)[[0, 0, 1, 0]]
    after = np.array([[3, 0, 9], [3, 0, 0], [0, 3, 0], [0, 3, 9]])  # the first and last are taken for the new class
    found = forgetting(before, after, np.array([0, 0, 1, 1]), ["a", "b"])
    assert (found["before"], found["after"], found["after_among_old"], found["forgetting"]) == (0.75, 0.5, 1.0, 0.25)
    assert found["per_class"]["a"] == {"pictures": 2, "before": 1.0, "after": 0.5, "after_among_old": 1.0,
                                       "forgetting": 0.5}  # fmt: skip
    assert found["per_class"]["b"]["forgetting"] == 0.0
    missing = forgetting(before[:2], after[:2], np.array([0, 0]), ["a", "b"])["per_class"]["b"]
    assert missing["pictures"] == 0 and missing["forgetting"] is None


def test_the_draw_is_of_each_class_and_the_seed():
    named = [(f"{name}{number}", name) for name in "ab" for number in range(9)]
    first = draw(named, ["b", "a", "c"], 4, 1)
    assert [name for _, name in first] == ["b"] * 4 + ["a"] * 4
    assert first == draw(named, ["b", "a", "c"], 4, 1) != draw(named, ["b", "a", "c"], 4, 2)


# ----------------------------------------------------------------------------------------------------------- whole jobs


def test_a_run_grows_twice_and_every_class_keeps_its_number(place, tmp_path):
    old = load_model(place / "first")
    second = further(place, tmp_path / "second", rehearsal=3, distill=1.0)
    third = finetune(from_run=str(tmp_path / "second"), data=str(place / "one"), output=str(tmp_path / "third"),
                     strategy="lora", **SHAPES)  # fmt: skip
    assert old.classes == ["blue", "green", "red"]
    assert load_model(tmp_path / "second").classes == [*old.classes, "black", "white"]
    last = load_model(tmp_path / "third")
    assert last.classes == [*old.classes, "black", "white", "amber"]
    assert last.model.config["num_classes"] == 6
    record = json.loads((tmp_path / "second" / "data.json").read_text())
    assert record["from"]["rehearsed"]["train"] == 9 and record["from"]["added"] == ["black", "white"]
    assert second.old_task["pictures"] == evaluate_model(place / "first").metrics["samples"]
    assert second.old_task["before"] == evaluate_model(place / "first").metrics["top1"]
    own = evaluate_model(tmp_path / "second").metrics["samples"]
    assert third.old_task["pictures"] == second.old_task["pictures"] + own  # of both runs before it
    table = (tmp_path / "second" / "splits.csv").read_text()
    assert table.count(",red,train") == 3 and ",red,test" not in table
    page = (tmp_path / "second" / "report.html").read_text()
    assert "9 train" in page and "pictures are rehearsed from there" in page
    assert "The earlier classes" in page and "among the old" in page
    found = evaluate_model(tmp_path / "second", str(place / "photos"))
    assert found.metrics["per_class"]["red"]["samples"] == 12


SLOW = [pytest.param(name, more, marks=pytest.mark.slow) for name, more in (
    ("head", {}), ("lp-ft", {}), ("gradual", {}), ("ssf", {}), ("bitfit", {}),
    ("bn", {}), ("adapter", {}), ("lora", {"lora_rank": 2}),
    ("full", {"bn": "reestimate", "model_ema": True, "unfreeze_at": ("1:layer1",), "freeze": "layer1"}),
)]  # fmt: skip


@pytest.mark.parametrize(("strategy", "more"), [("full", {"freeze": "stem,layer1", "sam": 0.05}), *SLOW])
def test_every_strategy_goes_on_from_a_run(place, tmp_path, strategy, more):
    """Equal bits after a pause, classes in their places, forgetting as counted by hand, a delta of the earlier run."""
    given = {"strategy": strategy, "rehearsal": 4, "distill": 1.0, "epochs": 2, "checkpoint_interval": 1, **more}
    whole = further(place, tmp_path / "whole", **given)
    further(place, tmp_path / "parts", **given, max_steps=3)
    finetune(resume=str(tmp_path / "parts"))
    assert contents(tmp_path / "parts", *SAME_IN_EQUAL_RUNS) == contents(tmp_path / "whole", *SAME_IN_EQUAL_RUNS)
    loaded = load_model(tmp_path / "whole")
    assert loaded.classes == ["blue", "green", "red", "black", "white"]
    rows = [row.split(",") for row in (place / "first" / "splits.csv").read_text().splitlines() if ",test" in row]
    paths, truth = [str(place / "photos" / row[0]) for row in rows], [row[1] for row in rows]

    def right(model, among):
        answers = [each.values[:among] for each in predict(model, paths)]
        return np.mean([model.classes[int(np.argmax(row))] == name for row, name in zip(answers, truth, strict=True)])

    record = whole.old_task
    assert (record["before"], record["after"], record["after_among_old"]) == (
        right(load_model(place / "first"), 3), right(loaded, 5), right(loaded, 3))  # fmt: skip
    delta = tmp_path / "whole" / "model" / "delta.safetensors"
    assert delta.exists() == (strategy in SMALL)
    if delta.exists():
        again = load_model(delta, base=str(place / "first"))
        assert again.classes == loaded.classes
        assert [each.values for each in predict(again, paths)] == [each.values for each in predict(loaded, paths)]


@pytest.mark.parametrize(("task", "classes"), [("multi-label", 5), ("ordinal", 6), ("regression", 0)])
def test_runs_of_other_tasks_are_refused_by_name(place, tmp_path, task, classes):
    model, info = model_directory.load(place / "weights")
    names = [f"thing {index}" for index in range(classes)]
    model_directory.save(model, tmp_path / "other", info["preprocessing"], names, {}, {"name": task})
    with pytest.raises(UsageError, match=f"--from is for classification with named classes, not for {task}") as caught:
        further(place, tmp_path / "run", from_run=str(tmp_path / "other"))
    assert "--weights RUN" in caught.value.hint and not (tmp_path / "run").exists()


def test_few_new_pictures_and_as_many_old_ones_as_rehearsal_says(place, tmp_path):
    said: list[str] = []
    further(place, tmp_path / "run", samples_per_class=2, rehearsal=4, max_steps=1, epochs=2, say=said.append)
    finetune(resume=str(tmp_path / "run"))
    table = (tmp_path / "run" / "splits.csv").read_text()
    counts = {name: table.count(f",{name},train") for name in ("blue", "green", "red", "black", "white")}
    assert counts == {"blue": 4, "green": 4, "red": 4, "black": 2, "white": 2}
    assert "trained on 16 pictures: at most 2 new ones of each class" in "\n".join(said)
    assert json.loads((tmp_path / "run" / "data.json").read_text())["from"]["rehearsed"]["train"] == 12


def test_the_head_begins_with_the_old_rows(place, tmp_path):
    """With a rate of next to nothing the rows of the old classes are the earlier run's to the last digits."""
    further(place, tmp_path / "run", lr=1e-30, weight_decay=0.0)
    (old, old_bias), (new, bias) = (rows_of(load_model(path).model) for path in (place / "first", tmp_path / "run"))
    assert (new[:3] == old).all() and (bias[:3] == old_bias).all() and new.shape[0] == 5


def test_paused_and_resumed_to_the_same_bits(place, tmp_path):
    more = {"rehearsal": 3, "distill": 1.0, "epochs": 2, "layer_decay": 0.8, "mixup": 0.2, "l2_sp": 0.01}
    whole = further(place, tmp_path / "whole", **more)
    further(place, tmp_path / "parts", **more, max_steps=2, checkpoint_interval=1)
    parts = finetune(resume=str(tmp_path / "parts"), max_steps=None)
    assert contents(tmp_path / "parts", *SAME_IN_EQUAL_RUNS) == contents(tmp_path / "whole", *SAME_IN_EQUAL_RUNS)
    assert parts.old_task == whole.old_task and parts.status == "done"


def test_a_resume_notices_that_the_earlier_model_is_another(place, tmp_path):
    shutil.copytree(place / "first", tmp_path / "first")
    further(tmp_path, tmp_path / "run", data=str(place / "more"), rehearsal=0, epochs=2, max_steps=1)
    shutil.copytree(make_weights(tmp_path / "other", 3), tmp_path / "first" / "model", dirs_exist_ok=True)
    with pytest.raises(UsageError) as caught:
        finetune(resume=str(tmp_path / "run"))
    assert caught.value.code == "run.from"


def test_stored_pictures_are_rehearsed_when_the_old_ones_are_gone(place, tmp_path):
    assert len(stored(str(place / "first"))) == 6
    for name in ("photos", "first"):
        shutil.copytree(place / name, tmp_path / name)
    settings_file = tmp_path / "first" / "args.toml"
    settings_file.write_text(settings_file.read_text().replace(str(place / "photos"), str(tmp_path / "photos")))
    assert toml.load_file(settings_file)["data"] == str(tmp_path / "photos")
    shutil.rmtree(tmp_path / "photos")
    said: list[str] = []
    result = further(tmp_path, tmp_path / "run", data=str(place / "more"), say=said.append)
    assert json.loads((tmp_path / "run" / "data.json").read_text())["from"]["rehearsed"] == {"train": 6}
    assert "6 pictures that it stored" in "\n".join(said)
    assert "no longer there" in result.old_task["reason"]
    shutil.rmtree(tmp_path / "first" / "rehearsal")
    with pytest.raises(UsageError, match="no longer there") as caught:
        further(tmp_path, tmp_path / "asked", data=str(place / "more"), rehearsal=2)
    assert caught.value.code == "data.rehearsal" and not (tmp_path / "asked").exists()
    further(tmp_path, tmp_path / "unasked", data=str(place / "more"), say=said.append)
    assert "rehearsal: none can be had" in "\n".join(said)


def test_folds_validate_on_each_new_picture_once(place, tmp_path):
    found = cross_validate(2, data=str(place / "more"), from_run=str(place / "first"), output=str(tmp_path / "folds"),
                           **SHAPES)  # fmt: skip
    rows = (tmp_path / "folds" / "predictions.csv").read_text().splitlines()[1:]
    assert len(rows) == 24 == found.pictures and not [row for row in rows if "photos" in row]


def test_a_run_that_is_not_finished_is_pointed_out(place, tmp_path):
    further(place, tmp_path / "half", epochs=2, max_steps=1)
    said: list[str] = []
    finetune(from_run=str(tmp_path / "half"), data=str(place / "one"), output=str(tmp_path / "run"), say=said.append,
             **SHAPES)  # fmt: skip
    assert "is not finished (paused)" in "\n".join(said)


def test_changed_pictures_are_not_rehearsed(place, tmp_path):
    """A file of another size is not the picture that the earlier run saw."""
    shutil.copytree(place / "first", tmp_path / "first")
    shutil.copytree(place / "photos", tmp_path / "photos")
    settings_file = tmp_path / "first" / "args.toml"
    settings_file.write_text(settings_file.read_text().replace(str(place / "photos"), str(tmp_path / "photos")))
    for path in (tmp_path / "photos" / "red").iterdir():
        path.write_bytes(path.read_bytes() + b"more")
    shutil.rmtree(tmp_path / "first" / "rehearsal")
    further(tmp_path, tmp_path / "run", data=str(place / "more"))
    table = (tmp_path / "run" / "splits.csv").read_text()
    assert ",blue,train" in table and ",red," not in table


def test_a_model_that_has_left_its_run_says_what_is_missing(place, tmp_path):
    shutil.copytree(place / "first" / "model", tmp_path / "alone")
    said: list[str] = []
    result = further(place, tmp_path / "run", from_run=str(tmp_path / "alone"), say=said.append)
    assert "nothing says which pictures" in result.old_task["reason"]
    assert "without its run folder" in "\n".join(said)


def test_pictures_that_both_have_are_not_rehearsed_twice(place, tmp_path):
    """New data that hold the old pictures, too: each is in one split only."""
    make_photos(tmp_path / "all", colours=NEW)
    for name in ("blue", "red"):
        os.symlink(place / "photos" / name, tmp_path / "all" / name)
    said: list[str] = []
    further(place, tmp_path / "run", data=str(tmp_path / "all"), seed=7, say=said.append)
    assert "the earlier run was trained on" in "\n".join(said) and "of the test pictures" in "\n".join(said)
    rows = (tmp_path / "run" / "splits.csv").read_text().splitlines()[1:]
    real = [os.path.realpath(tmp_path / "all" / row.split(",")[0]) for row in rows]
    assert len(real) == len(set(real)) and sum(",green," in row for row in rows) > 0


def test_digits_after_a_run_of_files_count_behind_its_classes(place, tmp_path):
    """Pictures in memory: nothing can be mixed in, and that is said; evaluate counts as the run did."""
    said: list[str] = []
    result = further(place, tmp_path / "run", data="digits", samples_per_class=2, say=said.append)
    assert load_model(tmp_path / "run").classes == ["blue", "green", "red", *map(str, range(10))]
    assert "cannot be mixed" in "\n".join(said)
    found = evaluate_model(tmp_path / "run")
    assert found.metrics["top1"] == result.after["top1"] and found.metrics["per_class"]["9"]["samples"] > 0
    assert found.metrics["per_class"]["blue"]["samples"] == 0


@pytest.mark.parametrize(
    ("more", "named"),
    [({"weights": "shapes"}, "--weights"), ({"head": "64"}, "--head"), ({"model": "resnet18"}, "--model"),
     ({"head_dropout": 0.5}, "--head-dropout"), ({"in_chans": 1}, "--in-chans"), ({"loss": "arcface"}, "--loss"),
     ({"task": "ordinal"}, "ordinal"), ({"from_run": None, "distill": 1.0}, "--distill"),
     ({"from_run": None, "rehearsal": 3}, "--rehearsal"), ({"distill_temperature": 3.0}, "--distill-temperature"),
     ({"from_run": "nowhere"}, "nowhere")],
)  # fmt: skip
def test_what_contradicts_the_earlier_run_is_refused_before_anything_is_made(place, tmp_path, more, named):
    with pytest.raises(UsageError, match=named):
        further(place, tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_the_earlier_run_is_not_overwritten_and_not_compared(place, tmp_path):
    for folder in ("first", "."):
        with pytest.raises(UsageError, match="begins from"):
            further(place, place / folder, overwrite=True)
    with pytest.raises(UsageError, match="--compare"):
        compare(1, data=str(place / "more"), from_run=str(place / "first"), output=str(tmp_path / "comparison"))


def test_a_class_map_may_go_on_but_not_reorder(place, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["red", "green", "blue", "black", "white"]))
    with pytest.raises(UsageError, match="class 0 of the earlier run is 'blue'") as caught:
        further(place, tmp_path / "run", class_map=str(names))
    assert caught.value.code == "data.class_order" and not (tmp_path / "run").exists()
    names.write_text("\n".join(["blue", "green", "red", "white", "black"]))
    further(place, tmp_path / "run", class_map=str(names))
    assert load_model(tmp_path / "run").classes == ["blue", "green", "red", "white", "black"]


def test_a_class_that_appears_before_a_resume_is_refused(place, tmp_path):
    make_photos(tmp_path / "more", colours=NEW)
    further(place, tmp_path / "run", data=str(tmp_path / "more"), epochs=2, max_steps=1)
    make_photos(tmp_path / "more", colours={"amber": (250, 180, 20)})
    with pytest.raises(DataError) as caught:
        finetune(resume=str(tmp_path / "run"))
    assert caught.value.code == "data.extra_class"
