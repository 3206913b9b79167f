"""The models by name: sizes, parts, descriptions, options, freezing; the same promises from every family."""

import json

import numpy as np
import pytest

from minires import models, nn
from minires.finetune import freezing
from minires.models.registry import FAMILIES, family_of
from minires.optim import SGD
from minires.tensor import Tensor
from tests.models.test_resnet import PARAMETERS as OF_RESNETS
from tests.models.test_resnet import count

# published: torchvision's documentation and timm's results; the CIFAR ones are counted by hand below
PARAMETERS = {
    "resnet18d": 11_708_744, "resnet34d": 21_816_904, "resnet50d": 25_576_264, "resnet101d": 44_568_392,
    "resnet152d": 60_212_040, "seresnet18": 11_779_624, "seresnet34": 21_960_416, "seresnet50": 28_088_024,
    "seresnet101": 49_326_872, "seresnet152": 66_821_848, "seresnext50_32x4d": 27_559_896,
    "seresnext101_32x8d": 93_569_048, "resnetv2_18": 11_687_720, "resnetv2_34": 21_795_880,
    "resnetv2_50": 25_549_352, "resnetv2_101": 44_541_480, "resnetv2_152": 60_185_128,
    "resnetv2_50x1_bit": 25_549_352, "resnetv2_101x1_bit": 44_541_480, "inception_resnet_v2": 55_843_464,
    "preact_resnet20": 269_722, "preact_resnet32": 464_154, "preact_resnet44": 658_586, "preact_resnet56": 853_018,
    "preact_resnet110": 1_727_962, "preact_resnet164": 1_661_274,
}  # fmt: skip

# name -> (how to build a small model of each family, side of its pictures)
SMALL = {
    "resnet": ({"block": "Bottleneck", "layers": [1, 1, 1, 1]}, 32),
    "resnet_d": ({"block": "BasicBlock", "layers": [1, 1, 1, 1]}, 33),
    "se_resnet": ({"block": "SEBottleneck", "layers": [1, 1, 1, 1]}, 32),
    "resnetv2": ({"block": "PreActBottleneck", "layers": [1, 1, 1, 1]}, 32),
    "resnetv2_bit": ({"block": "PreActBasicBlock", "layers": [1, 1, 1, 1], "norm": "group_ws"}, 32),
    "inception_resnet_v2": ({"layers": [1, 1, 1]}, 75),
    "cifar_resnet": ({"depth": 8}, 12),
    "preact_resnet": ({"depth": 11, "block": "PreActBottleneck"}, 12),
}
every_family = pytest.mark.parametrize("family", SMALL)


def small(family, **options):
    return models.create(family, **{"num_classes": 5, **SMALL[family][0], **options})


def pictures(family, count=2, channels=3):
    side = SMALL[family][1]
    array = np.random.default_rng(0).standard_normal((count, side, side, channels)).astype(np.float32)
    return Tensor(array.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    with nn.init.without_draws():
        model = getattr(models, name)()
    assert count(model) == PARAMETERS[name]
    assert model.config == {"name": name, "num_classes": 10 if "preact" in name else 1000}


def test_every_model_is_counted():
    assert set(models.list_models()) == set(OF_RESNETS) | set(PARAMETERS)
    assert {family.parts_name for family in FAMILIES} == set(SMALL)


def test_preact_counts_by_hand():
    """Norms of resnet20: the stem's 16 are gone, two have half the channels, the last has 64 more. 164: all counted."""
    assert PARAMETERS["preact_resnet20"] == count(models.resnet20()) + 2 * (-16 - 16 - 32 + 64)
    total, before = 3 * 16 * 9, 16
    for planes in (16, 32, 64):
        for _ in range(18):
            convolutions = before * planes + planes * planes * 9 + planes * 4 * planes
            total += convolutions + 2 * (before + planes + planes)
            before = 4 * planes
    assert PARAMETERS["preact_resnet164"] == total + 2 * 256 + 256 * 10 + 10


def test_list_models():
    assert models.list_models("resnext*") == ["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"]
    assert {"resnet50", "wide_resnet50_2", "seresnet50", "resnet50d"} <= set(models.list_models("*resnet50*"))
    assert models.list_models("vgg*") == []
    assert set(models.list_models()) <= set(models.__all__)
    with pytest.raises(AttributeError, match=r"minires.models has no 'resnet51'; did you mean 'resnet5"):
        _ = models.resnet51
    assert models.seresnet50.__name__ == "seresnet50" and "SEResNet" in models.seresnet50.__doc__


@every_family
def test_forward_is_features_then_head(family):
    model, x = small(family).eval(), pictures(family)
    features = model.forward_features(x)
    assert features.shape[:2] == (2, model.num_features)
    logits = model(x)
    assert logits.shape == (2, 5) and np.array_equal(model.forward_head(features).array, logits.array)
    pooled = model.forward_head(features, pre_logits=True)
    assert np.allclose(pooled.array, features.array.mean((2, 3)), rtol=1e-5, atol=1e-6)


@every_family
def test_stages_hold_every_parameter_once(family):
    model = small(family)
    stages = model.stages()
    layers = [name for name in stages if name.startswith("layer")]
    assert list(stages) == ["stem", *layers, "head"] and len(layers) in (3, 4)
    held = [id(p) for modules in stages.values() for module in modules for p in module.parameters()]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert list(stages["head"][0].parameters())[-1].shape == (5,)


OPTIONS = [{}, {"in_channels": 1}, {"norm": "group"}, {"norm": "group_ws", "in_channels": 4}]


@every_family
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("head", [None, lambda n: nn.Sequential(nn.Linear(n, 8), nn.ReLU(), nn.Linear(8, 2))])
def test_config_rebuilds_the_model(family, options, head):
    model = small(family, **options)
    if head is not None:
        model.reset_head(head(model.num_features))
    again = models.create(**json.loads(json.dumps(model.config)))
    assert repr(again) == repr(model) and again.config == model.config
    again.load_state_dict(model.state_dict())
    x = pictures(family, channels=options.get("in_channels", 3))
    assert np.array_equal(model.eval()(x).array, again.eval()(x).array)


def test_config_of_a_named_model_says_only_what_is_unusual():
    with nn.init.without_draws():
        assert models.resnext50_32x4d().config == {"name": "resnext50_32x4d", "num_classes": 1000}
        unusual = models.resnext50_32x4d(groups=1, num_classes=3)
        assert unusual.config == {"name": "resnext50_32x4d", "groups": 1, "num_classes": 3}
        assert repr(models.create(**unusual.config)) == repr(unusual)
        assert models.resnet50_gn(norm="batch").config["norm"] == "batch"
        assert models.ResNet(models.Bottleneck, [1, 1, 1, 1]).config["block"] == "Bottleneck"
        assert models.create("plain20", shortcut="B").config["shortcut"] == "B"


@pytest.mark.parametrize("norm", models.NORMS)
@pytest.mark.parametrize("name", ["resnet18", "resnet50d", "seresnet18", "resnetv2_50", "inception_resnet_v2",
                                  "resnet20", "preact_resnet20"])  # fmt: skip
def test_norms(name, norm):
    """The option replaces every batch norm; "group_ws" also every convolution."""
    with nn.init.without_draws():
        model = models.create(name, norm=norm)
    kinds = {type(module) for module in model.modules()}
    assert (nn.BatchNorm2d in kinds) == (norm == "batch") and (nn.GroupNorm in kinds) == (norm != "batch")
    assert (nn.StdConv2d in kinds) == (norm == "group_ws") and (nn.Conv2d in kinds) == (norm != "group_ws")
    groups = {module.num_groups for module in model.modules() if isinstance(module, nn.GroupNorm)}
    assert groups <= {4, 8, 16, 32}
    assert model.config.get("norm", "batch") == norm


@every_family
def test_reset_head(family):
    model = small(family).double().eval()
    model.reset_head(3)
    assert model.config["num_classes"] == 3
    x = Tensor(pictures(family).array.astype(np.float64))
    assert model(x).shape == (2, 3) and model(x).dtype == np.float64
    assert not any(module.training for module in model.modules())


@every_family
def test_freezing_leaves_the_body_as_it_was(family):
    """All but the head frozen, trained a step in train(): weights and statistics of the body keep every bit."""
    model = small(family)
    freezing.freeze(model, freezing.parse_freeze(model, "all-but-head"))
    freezing.set_batch_norm(model, "auto")
    prefix = f"{model.head_name}."
    before = {key: tensor.array.copy() for key, tensor in model.state_dict().items()}
    optimizer = SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()(pictures(family)).sum().backward()
    optimizer.step()
    changed = {key for key, tensor in model.state_dict().items() if not np.array_equal(tensor.array, before[key])}
    assert changed == {prefix + "weight", prefix + "bias"}
    names = ["stem", "layer1"]
    freezing.unfreeze(model)
    freezing.freeze(model, names)
    stages = model.stages()
    frozen = [p for name in names for module in stages[name] for p in module.parameters()]
    assert sum(not p.requires_grad for p in model.parameters()) == len(frozen) > 0


@every_family
def test_zero_init_residual_makes_blocks_the_identity(family):
    if family == "inception_resnet_v2":
        with pytest.raises(TypeError, match="zero_init_residual"):
            small(family, zero_init_residual=True)
        return
    model = small(family, zero_init_residual=True)
    blocks = [module for module in model.modules() if isinstance(module, family_of(family).blocks)]
    assert blocks and all((getattr(block, block.last).weight.array == 0).all() for block in blocks)
    assert model.config["zero_init_residual"] is True


def test_the_head_of_timm_s_resnetv2_is_a_convolution():
    model = small("resnetv2")
    state = dict(model.state_dict())
    matrix = state["head.fc.weight"].array.copy()
    state["head.fc.weight"] = matrix.reshape(*matrix.shape, 1, 1) + 1
    model.load_state_dict(state)
    assert np.array_equal(model.head.fc.weight.array, matrix + 1)
    state["head.fc.weight"] = matrix.reshape(*matrix.shape, 1, 1).repeat(2, axis=3)
    with pytest.raises(RuntimeError, match=r"size mismatch for head.fc.weight"):
        model.load_state_dict(state)
    with pytest.raises(TypeError, match="dict-like"):
        model.load_state_dict([1])


def test_a_submodule_may_have_a_method_s_name():
    model = small("resnetv2")
    assert isinstance(model.get_submodule("stages.0.blocks.0.conv1"), nn.Conv2d)
    assert model.get_parameter("stages.3.blocks.0.norm1.weight") is model.stages()["layer4"][0].blocks[0].norm1.weight


def test_the_first_preactivated_block_activates_its_shortcut():
    """Section 3.2 of the paper: the first unit is activated before the paths part; the other units' shortcuts are x."""
    model = small("preact_resnet").eval()
    for block in model.layer1:
        nn.init.zeros_(block.conv3.weight)
    x = pictures("preact_resnet")
    y = model.layer1(model.forward_stem(x)).array
    assert y[:, :16].min() == 0 and y[:, :16].max() > 0 and not y[:, 16:].any()
    deeper = models.preact_resnet20()
    assert isinstance(deeper.layer1[0].downsample, nn.Identity) and deeper.layer1[1].downsample is None


def test_wrong_use_is_said():
    for family in SMALL:
        with pytest.raises(ValueError, match="norm must be one of batch, group, group_ws, not 'layer'"):
            small(family, norm="layer")
    with pytest.raises(ValueError, match="block must be one of SEBasicBlock, SEBottleneck, not 'Bottleneck'"):
        models.create("se_resnet", block="Bottleneck", layers=[1, 1, 1, 1])
    with pytest.raises(NotImplementedError, match="resnet_d has no replace_stride_with_dilation"):
        models.resnet50d(replace_stride_with_dilation=[False, False, True])
    with pytest.raises(ValueError, match=r"depth must be 6 n \+ 2, such as 20, not 21"):
        models.create("preact_resnet", depth=21)
    with pytest.raises(ValueError, match=r"depth must be 9 n \+ 2, such as 29, not 21"):
        models.create("preact_resnet", depth=21, block="PreActBottleneck")
    with pytest.raises(ValueError, match="shortcut must be 'A' or 'B'"):
        models.preact_resnet20(shortcut=None)
    with pytest.raises(ValueError, match="there is no model 'vgg16'"):
        models.create("vgg16", weights="x")
