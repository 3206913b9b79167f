"""Preprocessing of published weights: every recipe reachable by the names people have, the rest by the usual one."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from minires import models
from minires.data import Preprocessing
from minires.models import CifarResNet, recipes
from minires.models.preact_resnet import PreActCifarResNet
from minires.models.registry import family_of

IMAGENET, HALF = (0.485, 0.456, 0.406), (0.5, 0.5, 0.5)

KNOWN = [  # model, weights, (resize, crop, interpolation, mean); from torchvision's documentation and timm's tables
    ("resnet50", "resnet50-0676ba61.pth", (256, 224, "bilinear", IMAGENET)),
    ("resnet50", "/a/b/resnet50-11ad3fa6.pth", (232, 224, "bilinear", IMAGENET)),
    ("resnet50", "IMAGENET1K_V1", (256, 224, "bilinear", IMAGENET)),
    ("resnet50", "IMAGENET1K_V2", (232, 224, "bilinear", IMAGENET)),
    ("resnext101_64x4d", "IMAGENET1K_V1", (232, 224, "bilinear", IMAGENET)),
    ("wide_resnet101_2", pathlib.Path("x") / "wide_resnet101_2-d733dc28.pth", (232, 224, "bilinear", IMAGENET)),
    ("resnet50", "resnet50_a1_0-14fe96d1.pth", (235, 224, "bicubic", IMAGENET)),
    ("resnet50", "a3_in1k", (168, 160, "bicubic", IMAGENET)),
    ("resnet50", "timm/resnet50.a1_in1k/model.safetensors", (235, 224, "bicubic", IMAGENET)),
    ("resnet50d", "models--timm--resnet50d.ra2_in1k/snapshots/0f3a/pytorch_model.bin",
     (256, 224, "bicubic", IMAGENET)),
    ("resnet50d", "resnet50d.ra4_e3600_r224_in1k.safetensors", (235, 224, "bicubic", HALF)),
    ("resnet101d", None, (269, 256, "bicubic", IMAGENET)),
    ("resnet50_gn", None, (238, 224, "bicubic", IMAGENET)),
    ("inception_resnet_v2", None, (333, 299, "bicubic", HALF)),
    ("resnetv2_50", None, (235, 224, "bicubic", HALF)),
    ("resnetv2_101x1_bit", None, (448, 448, "bilinear", HALF)),
    ("resnet50", None, (256, 224, "bilinear", IMAGENET)),
    ("resnet50", "mine.safetensors", (256, 224, "bilinear", IMAGENET)),
    ("resnet50", "runs/resnet50/model.safetensors", (256, 224, "bilinear", IMAGENET)),
    ("resnet20", None, ((32, 32), None, "bilinear", IMAGENET)),
    ("plain56", "mine.npz", ((32, 32), None, "bilinear", IMAGENET)),
    ("preact_resnet110", None, ((32, 32), None, "bilinear", IMAGENET)),
    ("cifar_resnet", None, ((32, 32), None, "bilinear", IMAGENET)),
    ("se_resnet", None, (256, 224, "bilinear", IMAGENET)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "weights", "expected"), KNOWN)
def test_recipes(name, weights, expected):
    found = models.preprocessing(name, weights)
    assert (found.resize, found.crop, found.interpolation, found.mean) == expected
    assert found.std == (HALF if found.mean == HALF else (0.229, 0.224, 0.225))


def test_find_says_what_is_not_known():
    assert recipes.find("resnet50", "mine.pth") is None
    assert recipes.find("resnet50", "resnet50.pth") is None, "a file named after its model may be any"
    assert recipes.find("resnet50", "tv_in1k") == models.preprocessing("resnet50", "IMAGENET1K_V1")
    with pytest.raises(ValueError, match="there is no model 'vgg16'"):
        models.preprocessing("vgg16")


def test_every_large_model_has_a_recipe_and_every_recipe_a_model():
    names = set(models.list_models())
    small = {name for name in names if models.preprocessing(name).resize == (32, 32)}
    assert small == {name for name in names if family_of(name) in (CifarResNet, PreActCifarResNet)}
    assert names - small == {name for name in recipes.RECIPES if "." not in name and "-" not in name}
    tagged = [name for name in recipes.RECIPES if "." in name]
    assert {name.split(".")[0] for name in tagged} <= names
    assert len(recipes.RECIPES) == sum(len(listed.split()) for _, listed in recipes.TABLE), "none stands there twice"


def test_a_recipe_can_be_saved_and_applied():
    found = models.preprocessing("resnet50", "IMAGENET1K_V2")
    again = Preprocessing.from_config(found.to_config())
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 260, 3), dtype=np.uint8))
    assert again == found and np.array_equal(again(picture).array, found(picture).array)
    assert found(picture).shape == (3, 224, 224)
