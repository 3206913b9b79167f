"""A checkpoint of a run used like a model's file: it knows its model, its preprocessing and its classes."""

import csv
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

import minires as mr
from minires.data import preset_eval
from minires.errors import FileFormatError, UsageError
from minires.finetune import evaluate_model, finetune, inference, load_model
from minires.io import checkpoint, model_directory, toml, weights
from minires.training import ModelCheckpoint, Trainer
from tests.cli.helpers import minires
from tests.finetune.helpers import COLOURS, make_photos, make_weights

pytestmark = pytest.mark.timeout(120)
CLASSES = sorted(COLOURS)
FAST = {"batch_size": 8, "no_aug": True, "patience": 0, "lr": 0.02}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """photos/, weights/ and run/, whose checkpoint is newer than its best weights or the same."""
    place = tmp_path_factory.mktemp("checkpoints")
    make_photos(place / "photos")
    make_weights(place / "weights")
    finetune(data=str(place / "photos"), weights=str(place / "weights"), output=place / "run", epochs=2, **FAST)
    return place


@pytest.fixture
def newest(place):
    return checkpoint.list_checkpoints(place / "run" / "checkpoints")[0]


def trained_tensors(path):
    """The model's tensors in a checkpoint, read by hand."""
    tensors, _ = checkpoint.load(path)
    return {name.removeprefix("model."): array for name, array in tensors.items() if name.startswith("model.")}


def test_it_is_loaded_with_all_that_belongs_to_it(place, newest):
    loaded, expected = load_model(newest), trained_tensors(newest)
    run = load_model(place / "run")
    assert loaded.classes == CLASSES and loaded.preprocessing == run.preprocessing and loaded.path == newest
    assert loaded.preprocessing == preset_eval((8, 8), None, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    assert loaded.model.config == run.model.config and not loaded.model.training
    state = loaded.model.state_dict()
    assert set(state) == set(expected) and all(np.array_equal(state[name].array, expected[name]) for name in expected)
    with pytest.raises(UsageError, match="knows its classes"):
        load_model(newest, class_map=place / "names.txt")


def test_models_load(place, newest):
    model = mr.models.load(newest)
    assert model.config == load_model(place / "run").model.config
    assert model.metadata == {"preprocessing": load_model(place / "run").preprocessing.to_config(), "classes": CLASSES}
    assert mr.models.load(place / "run" / "model").metadata == model.metadata
    with pytest.warns(UserWarning, match="the head has 3 classes; a new one"):
        assert mr.models.load(newest, num_classes=7).fc.out_features == 7
    with pytest.warns(UserWarning, match="takes 3 channels; it is adapted to 1"):
        assert mr.models.load(newest, in_channels=1).conv1.weight.shape[1] == 1
    with pytest.raises(UsageError, match="one set of tensors"):
        mr.models.load(newest, ema=True)


def test_the_commands_take_it(place, newest, tmp_path):
    name = os.path.relpath(newest, place)
    answer = minires("predict", name, "photos/red/1.png", "--format", "json", cwd=place)
    assert answer.returncode == 0, answer.stderr
    loaded = load_model(newest)
    (expected,) = inference.predict(loaded, [str(place / "photos/red/1.png")])
    found = {one["label"]: one["prob"] for one in json.loads(answer.stdout)[0]["predictions"]}
    assert [found[label] for label in CLASSES] == pytest.approx(expected.values, abs=1e-6)
    answer = minires("export", name, "--output", tmp_path / "m.safetensors", cwd=place)
    assert answer.returncode == 0, answer.stderr
    again = load_model(tmp_path / "m.safetensors")
    assert again.classes == CLASSES and again.preprocessing == loaded.preprocessing
    assert np.array_equal(again.model.fc.weight.array, loaded.model.fc.weight.array)


def test_evaluate_finds_the_split_of_its_run(place, newest):
    found = evaluate_model(newest, split="val")
    with open(place / "run" / "splits.csv", newline="") as file:
        assert found.metrics["samples"] == sum(row["split"] == "val" for row in csv.DictReader(file))
    assert set(found.metrics["per_class"]) == set(COLOURS)


@pytest.mark.parametrize("flag", ["weights", "model"])
def test_another_run_starts_from_it(place, newest, tmp_path, flag):
    finetune(data=str(place / "photos"), output=tmp_path / "run", freeze="all-but-head", bn="frozen", epochs=1,
             **{flag: newest}, **FAST)  # fmt: skip
    after, before = load_model(tmp_path / "run"), trained_tensors(newest)
    assert after.preprocessing == load_model(newest).preprocessing, "not what the table of published weights says"
    for name, tensor in after.model.state_dict().items():
        assert name.startswith("fc.") or np.array_equal(tensor.array, before[name]), name
    assert toml.load_file(tmp_path / "run" / "args.toml")["model"] == "cifar_resnet"


@pytest.mark.parametrize("form", ["folder's file", "exported"])
def test_a_file_that_says_how_pictures_are_prepared_is_believed_as_weights(place, tmp_path, form):
    """The weights of a model folder, and of `minires export`, as --weights."""
    path = place / "run" / "model" / "model.safetensors"
    if form == "exported":
        path = shutil.copy(path, tmp_path / "mine.safetensors")
    finetune(data=str(place / "photos"), output=tmp_path / "run", weights=str(path), epochs=1, **FAST)
    assert load_model(tmp_path / "run").preprocessing == load_model(place / "run").preprocessing


def test_a_run_is_resumed_with_it_in_the_checkpoint(place, tmp_path):
    settings = {"data": str(place / "photos"), "weights": str(place / "weights"), "epochs": 2, **FAST}
    finetune(output=tmp_path / "run", max_steps=4, **settings)
    finetune(output=tmp_path / "run", resume=True)
    for file in ("model/model.safetensors", "history.csv"):
        assert (tmp_path / "run" / file).read_bytes() == (place / "run" / file).read_bytes()


def test_outputs_of_a_regression_are_in_the_units_of_the_labels(place, tmp_path):
    table = tmp_path / "ages.csv"
    ages = {"blue": 1000.0, "green": 2000.0, "red": 3000.0}
    rows = [f"{place / 'photos' / name / f'{index}.png'},{age + index}" for name, age in ages.items()
            for index in range(12)]  # fmt: skip
    table.write_text("path,label\n" + "\n".join(rows))
    for number, head in enumerate(("linear", "8")):
        run = tmp_path / f"run{number}"
        finetune(data=str(table), task="regression", weights=str(place / "weights"), output=run, epochs=1, head=head,
                 **FAST)  # fmt: skip
        newest = checkpoint.list_checkpoints(run / "checkpoints")[0]
        loaded, best = load_model(newest), load_model(run)
        assert loaded.classes == [] and loaded.task == "regression"
        for name, tensor in best.model.state_dict().items():
            other = mr.models.load(newest).state_dict()[name].array
            assert np.array_equal(loaded.model.state_dict()[name].array, tensor.array), name
            assert np.array_equal(other, tensor.array), name
        (answer,) = inference.predict(loaded, [str(place / "photos/red/1.png")])
        assert answer.values[0] > 100, "not in units of the spread"


def test_a_checkpoint_of_a_plain_loop_is_known_by_its_tensors(tmp_path):
    model = mr.models.resnet20(num_classes=3)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = mr.randn(4, 3, 8, 8)
    trainer = Trainer(model, optimizer, mr.nn.CrossEntropyLoss(), callbacks=[ModelCheckpoint(tmp_path)], progress=False)
    trainer.fit([(images, mr.tensor([0, 1, 2, 0]))], epochs=1)
    path = checkpoint.list_checkpoints(tmp_path)[0]
    found = mr.models.load(path)
    assert found.config == {"name": "resnet20", "num_classes": 3} and found.metadata == {}
    assert np.array_equal(found.conv1.weight.array, model.conv1.weight.array)
    loaded = load_model(path)
    assert loaded.classes == ["0", "1", "2"] and loaded.preprocessing == mr.models.preprocessing("resnet20")
    assert "optimizer.state.0.momentum_buffer" in weights.load(path), "mr.load gives all there is"


def test_a_plain_loop_may_say_what_its_model_is_for(tmp_path):
    """`model.metadata` is in both files that ModelCheckpoint writes."""
    preprocessing = preset_eval((8, 8), None)
    model = mr.models.create("cifar_resnet", depth=8, num_classes=3)
    model.metadata = {"preprocessing": preprocessing.to_config(), "classes": CLASSES}
    optimizer = mr.optim.SGD(model.parameters(), lr=0.01)
    trainer = Trainer(model, optimizer, mr.nn.CrossEntropyLoss(), callbacks=[ModelCheckpoint(tmp_path)], progress=False)
    trainer.fit([(mr.randn(4, 3, 8, 8), mr.tensor([0, 1, 2, 0]))], epochs=1)
    for path in (checkpoint.list_checkpoints(tmp_path)[0], tmp_path / "best.safetensors"):
        loaded = load_model(path)
        assert loaded.classes == CLASSES and loaded.preprocessing == preprocessing
        assert np.array_equal(loaded.model.conv1.weight.array, model.conv1.weight.array)
    trainer.resume(tmp_path)
    data = (tmp_path / "best.safetensors").read_bytes().replace(b'\\"epoch\\"', b'\\"epoch!!')
    (tmp_path / "torn.safetensors").write_bytes(data)
    with pytest.raises(FileFormatError, match=r"torn\.safetensors"):
        load_model(tmp_path / "torn.safetensors")


def damaged(newest, path, change):
    tensors, state = checkpoint.load(newest)
    change(tensors, state)
    checkpoint.save(path, tensors, state)
    return path


DAMAGE = {
    "incomplete": lambda tensors, state: state["about"].pop("classes"),
    "incomplete: ": lambda tensors, state: state.update(about=3),
    "without a model's tensors": lambda tensors, state: [tensors.pop(n) for n in list(tensors) if n[:6] == "model."],
    "do not fit the model": lambda tensors, state: tensors.pop("model.conv1.weight"),
    "there is no model 'vgg16'": lambda tensors, state: state["about"]["config"].update(name="vgg16"),
    "unknown keys": lambda tensors, state: state["about"]["preprocessing"].update(colour="blue"),
    "incomplete: KeyError": lambda tensors, state: state["about"].update(outputs={"layer": "fc"}),
}  # fmt: skip


@pytest.mark.parametrize("reason", DAMAGE)
def test_what_is_wrong_with_it_is_said(place, newest, tmp_path, reason):
    path = damaged(newest, tmp_path / "step-00000001.safetensors", DAMAGE[reason])
    with pytest.raises(FileFormatError) as failure:
        load_model(path)
    assert reason in str(failure.value) and str(path) in str(failure.value)


def test_a_flipped_bit_is_found(newest, tmp_path):
    data = bytearray(pathlib.Path(newest).read_bytes())
    data[-5] ^= 4
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(FileFormatError, match="checksum"):
        mr.models.load(tmp_path / "a.safetensors")
    with pytest.raises(FileFormatError, match="checksum"):
        model_directory.load_file(tmp_path / "a.safetensors")
