"""The table of settings: types, ranges, names, and that the command line shows exactly what is in it."""

import dataclasses

import pytest

from minires.errors import UsageError
from minires.finetune.optimizer_table import USUAL
from minires.finetune.settings import FIELDS, RECIPES, Settings, make_settings


def test_text_becomes_the_proper_type():
    values = {"data": "d", "lr": "1e-3", "epochs": "7", "scale": "0.5,1", "val_split": "0.25"}
    values |= {"test_split": "testing", "decay_milestones": "3,5", "sched": "MultiStepLR"}
    settings = make_settings(values).check()
    assert (settings.lr, settings.epochs, settings.scale, settings.val_split) == (1e-3, 7, (0.5, 1.0), 0.25)
    assert (settings.test_split, settings.decay_milestones, settings.sched) == ("testing", (3, 5), "multistep")


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.metadata["low"] is not None])
def test_every_range_has_an_end(name):
    field = FIELDS[name]
    wrong = field.metadata["low"] - 1
    wrong = [wrong, wrong] if field.metadata["kind"] in ("ints", "floats") else wrong
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} must be"):
        Settings(data="d", **{name: wrong}).check()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "x", None])
def test_a_learning_rate_is_a_finite_number(value):
    settings = Settings(data="d", lr=value)
    if value is None:
        assert settings.check().lr is None
        return
    with pytest.raises(UsageError, match="--lr"):
        settings.check()


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'batch_size'"):
        make_settings({"batchsize": 3})


def test_recipes_decide_what_was_left_open():
    for recipe in RECIPES:
        for opt, usual in USUAL.items():
            settings = Settings(data="d", opt=opt).check().resolved(recipe)
            assert settings.lr == getattr(usual, recipe)
            assert None not in (settings.weight_decay, settings.norm_weight_decay, settings.epochs, settings.hflip)
    assert Settings(data="d", lr=0.5, epochs=2).check().resolved("train").lr == 0.5
    assert Settings(data="digits").resolved("finetune").hflip == 0.0  # a mirrored 3 is no 3
    finetuned, trained = (Settings(data="d", opt="sgd").resolved(recipe) for recipe in ("finetune", "train"))
    assert finetuned.norm_weight_decay == 0.0 and trained.norm_weight_decay == trained.weight_decay > 0


def test_plain_values_come_back():
    settings = Settings(data="d", scale=(0.3, 0.9), lr=0.1).check().resolved("finetune")
    again = make_settings({key: value for key, value in settings.to_dict().items() if value is not None}).check()
    assert again == settings
    assert set(settings.to_dict()) == {field.name for field in dataclasses.fields(Settings)}


def test_conflicts():
    for wrong in ({"sched": "step"}, {"task": "regression", "smoothing": 0.1}, {"weights": "none", "freeze": "stem"}):
        with pytest.raises(UsageError):
            Settings(data="d", **wrong).check()
