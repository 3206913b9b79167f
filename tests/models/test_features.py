"""Outputs of layers by name: the right numbers from every family, torchvision's keys, gradients, errors that help."""

import copy
import pickle

import numpy as np
import pytest

from minires import models, nn, ops
from minires.models import _utils
from minires.models.feature_extraction import get_graph_node_names
from minires.models.features import FeatureExtractor, IntermediateLayerGetter, create_feature_extractor, feature_list
from minires.tensor import Tensor
from tests.models.test_zoo import SMALL, every_family, pictures, small

# family -> channels of its small model's feature maps, and by how many times they are smaller than the picture
MAPS = {
    "resnet": ([64, 256, 512, 1024, 2048], [2, 4, 8, 16, 32]),
    "resnet_d": ([64, 64, 128, 256, 512], [2, 4, 8, 16, 32]),
    "se_resnet": ([64, 256, 512, 1024, 2048], [2, 4, 8, 16, 32]),
    "resnetv2": ([64, 256, 512, 1024, 2048], [2, 4, 8, 16, 32]),
    "resnetv2_bit": ([64, 64, 128, 256, 512], [2, 4, 8, 16, 32]),
    "inception_resnet_v2": ([64, 192, 320, 1088, 1536], [2, 4, 8, 16, 32]),
    "cifar_resnet": ([16, 16, 32, 64], [1, 1, 2, 4]),
    "preact_resnet": ([16, 64, 128, 256], [1, 1, 2, 4]),
}


def picture(seed=0):
    return Tensor(np.random.default_rng(seed).standard_normal((2, 3, 32, 32)).astype(np.float32))


def resnet(block="BasicBlock", **options):
    return models.create("resnet", block=block, layers=[1, 1, 1, 1], num_classes=5, **options)


def test_every_family_is_here():
    assert list(MAPS) == list(SMALL)


@every_family
def test_the_last_map_is_the_models_own_and_the_others_have_the_sizes_of_the_architecture(family):
    model = small(family).eval()
    x = pictures(family)
    features = feature_list(model)
    maps = features(x)
    assert np.array_equal(maps[-1].array, model.forward_features(x).array)
    assert [one.shape[1] for one in maps] == MAPS[family][0]
    assert (features.feature_info.channels(), features.feature_info.reduction()) == MAPS[family]
    assert features.feature_info.module_name() == model.feature_names()
    assert features.feature_info[-1] == {"num_chs": MAPS[family][0][-1], "reduction": MAPS[family][1][-1],
                                         "module": model.feature_names()[-1]}  # fmt: skip
    assert not any(module.has_hooks for module in model.modules())


@every_family
def test_what_the_head_is_given(family):
    model = small(family).eval()
    x = pictures(family)
    pooled = create_feature_extractor(model, {"flatten": "embedding"})(x)["embedding"]
    assert np.array_equal(pooled.array, model.forward_head(model.forward_features(x), pre_logits=True).array)


def test_nested_names_and_the_calls_of_one_layer():
    model = resnet().eval()
    names = ["relu", "layer1.0.bn1", "layer1.0.relu", "layer1.0.relu_1", "layer2.0.downsample", "layer3"]
    found = FeatureExtractor(model, names)(picture())
    assert list(found) == names
    x = model.maxpool(found["relu"])
    block = model.layer1[0]
    bn1 = block.bn1(block.conv1(x))
    np.testing.assert_allclose(found["layer1.0.bn1"].array, bn1.array, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["layer1.0.relu"].array, ops.relu(bn1).array, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["layer1.0.relu_1"].array, block(x).array, rtol=1e-5, atol=1e-5)
    shortcut = model.layer2[0].downsample(found["layer1.0.relu_1"])
    np.testing.assert_allclose(found["layer2.0.downsample"].array, shortcut.array, rtol=1e-5, atol=1e-5)
    assert found["layer3"].shape == (2, 256, 2, 2)


def test_the_keys_are_those_of_the_model_up_to_the_last_layer_and_the_layers_are_shared():
    model = resnet()
    getter = IntermediateLayerGetter(model, {"layer1": "low", "layer3": "out"})
    wanted = [key for key in model.state_dict() if not key.startswith(("layer4", "fc"))]
    assert list(getter.state_dict()) == wanted
    assert list(getter) == ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"]  # as a ModuleDict
    assert getter["layer3"] is model.layer3
    assert list(getter(picture())) == ["low", "out"]
    pooled = create_feature_extractor(model, ["flatten"])
    assert list(pooled.state_dict()) == [key for key in model.state_dict() if not key.startswith("fc")]
    getter.load_state_dict({key: ops.zeros_like(value) for key, value in getter.state_dict().items()})
    assert not model.conv1.weight.array.any() and model.fc.weight.array.any()
    assert not getter.eval().training and not model.training and not model.layer1.training


def test_gradients_reach_the_layers_before_and_no_others():
    model = resnet("Bottleneck")
    getter = IntermediateLayerGetter(model, {"layer2": "out"})
    getter(picture())["out"].square().mean().backward()
    have = {key.split(".")[0] for key, parameter in model.named_parameters() if parameter.grad is not None}
    assert have == {"conv1", "bn1", "layer1", "layer2"}


def test_the_rest_of_the_model_does_not_run():
    model = resnet()
    calls = []
    model.layer3[0].register_forward_hook(lambda *arguments: calls.append(arguments))
    FeatureExtractor(model, ["layer2.0.conv1"])(picture())
    assert not calls
    FeatureExtractor(model, ["layer3"])(picture())
    assert len(calls) == 1 and model.layer3[0].has_hooks  # and hooks of one's own stay


@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_has_layers_of_its_own(again):
    getter = IntermediateLayerGetter(resnet().eval(), {"layer2": "out"})
    other = again(getter)
    before = getter(picture())["out"].array
    assert np.array_equal(other(picture())["out"].array, before)
    other.requires_grad_(False)
    other.conv1.weight.fill_(0.0)
    assert other.model.conv1.weight is other.conv1.weight
    assert np.array_equal(getter(picture())["out"].array, before)
    assert not np.array_equal(other(picture())["out"].array, before)


def test_create_makes_feature_lists():
    features = models.resnet20(weights="shapes", features_only=True, out_indices=(1, -1))
    maps = features.eval()(picture())
    assert [one.shape for one in maps] == [(2, 16, 32, 32), (2, 64, 8, 8)]
    assert features.train().feature_info.reduction() == [1, 4]
    assert features.training and features.model.training and features["layer3"].training
    with pytest.raises(ValueError, match="out_indices: there are the feature maps 0 to 3, not 4"):
        models.resnet20(features_only=True, out_indices=(0, 4))
    with pytest.raises(ValueError, match="names a feature map twice"):
        models.resnet20(features_only=True, out_indices=(3, -1))
    with pytest.raises(ValueError, match="out_indices goes with features_only"):
        models.resnet20(out_indices=(1,))


@every_family
def test_every_name_that_is_listed_can_be_had(family):
    model = small(family).train()
    names, others = get_graph_node_names(model)
    assert names == others and len(set(names)) == len(names) and names[-2:] == ["flatten", model.head_name]
    assert model.training and not any(module.has_hooks for module in model.modules())
    found = create_feature_extractor(model.eval(), names)(pictures(family))
    assert list(found) == names
    assert np.array_equal(found[model.head_name].array, model(pictures(family)).array)


def test_names_are_those_of_torchvision():
    names, _ = get_graph_node_names(resnet())
    assert names[:9] == ["conv1", "bn1", "relu", "maxpool", "layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu",
                         "layer1.0.conv2", "layer1.0.bn2"]  # fmt: skip
    assert names[9] == "layer1.0.relu_1" and names[-3:] == ["avgpool", "flatten", "fc"]
    assert _utils.IntermediateLayerGetter is IntermediateLayerGetter


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["layer5"], r"ResNet has no layer 'layer5'; did you mean 'layer\d'"),
        (["layer1.0.con1"], r"no layer 'layer1\.0\.con1'; did you mean 'layer1\.0\.conv1'"),
        (["layer1_0"], "has no layer 'layer1_0'"),
        ("layer1", "a dictionary or a list of names, got 'layer1'"),
        ({}, "a dictionary or a list of names, got {}"),
        ({"layer1": "out", "layer2": "out"}, "two layers have one name in the answer"),
    ],
)
def test_wrong_names(names, message):
    with pytest.raises(ValueError, match=message):
        create_feature_extractor(resnet(), names)


def test_the_getter_takes_a_dictionary():
    with pytest.raises(ValueError, match="return_layers is a dictionary"):
        IntermediateLayerGetter(resnet(), ["layer1"])


class Crossed(nn.Module):
    """Uses its second layer first, and its third not at all."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        return self.first(self.second(x))


def test_what_a_model_does_otherwise_is_said():
    x = Tensor(np.ones((1, 2), np.float32))
    with pytest.raises(ValueError, match="uses 'second' earlier than its order of layers says"):
        FeatureExtractor(Crossed(), ["first"])(x)
    assert list(FeatureExtractor(Crossed(), ["first", "second"])(x)) == ["first", "second"]
    with pytest.raises(ValueError, match="has not called third"):
        FeatureExtractor(Crossed(), ["third"])(x)
    with pytest.raises(ValueError, match="has not called second_1, or not so often"):
        FeatureExtractor(Crossed(), ["second_1"])(x)
    with pytest.raises(ValueError, match="Crossed has no layer 'flatten'"):
        FeatureExtractor(Crossed(), ["flatten"])


def test_dilation_keeps_the_maps_large_with_basic_blocks_too():
    model = resnet(replace_stride_with_dilation=[False, True, True])
    assert [one.shape[2:] for one in feature_list(model)(picture())] == [(16, 16), (8, 8), (4, 4), (4, 4), (4, 4)]
    assert model.layer4[0].conv2.dilation == (2, 2)
    plain = resnet()
    assert [(key, value.shape) for key, value in model.state_dict().items()] == [
        (key, value.shape) for key, value in plain.state_dict().items()
    ]
