"""FCNs: torchvision's keys and numbers, weights in and out, the loss with pixels that do not count, training."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires import models, nn
from minires.data import DataLoader, ShapeScenes, preset_eval
from minires.data.transforms import v2
from minires.errors import FileFormatError, UsageError
from minires.finetune import load_model
from minires.io import model_directory
from minires.optim import SGD
from minires.tensor import Tensor
from minires.training import Trainer
from tests.cli.helpers import ROOT
from tests.models.test_zoo import SMALL, every_family, pictures

# published: torchvision's documentation of FCN_ResNet50_Weights and FCN_ResNet101_Weights, both with aux_classifier
PARAMETERS = {"fcn_resnet50": 35_322_218, "fcn_resnet101": 54_314_346}


def small(num_classes=4, block="BasicBlock", **options):
    return models.fcn("resnet", num_classes, block=block, layers=[1, 1, 1, 1], **options)


def labels(shape, classes, seed=0):
    numbers = np.random.default_rng(seed).integers(0, classes + 1, shape)
    return np.where(numbers == classes, 255, numbers)


@pytest.mark.parametrize("name", PARAMETERS)
def test_sizes_as_published(name):
    with nn.init.without_draws():
        model = getattr(models, name)(aux_loss=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    assert getattr(models, name).__name__ == name


def torch_fcn(classes):
    torch = pytest.importorskip("torch")
    from tests.torch_resnet import TorchResNet

    body = TorchResNet([1, 1, 1, 1], True, dilate=(False, True, True))
    del body.fc, body.avgpool

    def head(channels):
        inside = channels // 4
        return torch.nn.Sequential(
            torch.nn.Conv2d(channels, inside, 3, padding=1, bias=False), torch.nn.BatchNorm2d(inside), torch.nn.ReLU(),
            torch.nn.Dropout(0.0), torch.nn.Conv2d(inside, classes, 1),
        )  # fmt: skip

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.classifier, self.aux_classifier = body, head(2048), head(1024)

        def forward(self, x):
            b, size = self.backbone, x.shape[-2:]
            x = b.layer2(b.layer1(b.maxpool(torch.relu(b.bn1(b.conv1(x))))))
            aux = b.layer3(x)
            maps = {"out": self.classifier(b.layer4(aux)), "aux": self.aux_classifier(aux)}
            return {key: torch.nn.functional.interpolate(one, size, mode="bilinear") for key, one in maps.items()}

    return Net().double()


def test_keys_outputs_loss_and_gradients_as_torch():
    theirs = torch_fcn(5)
    import torch

    ours = small(5, "Bottleneck", aux_loss=True).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    for head in (ours.classifier, ours.aux_classifier):
        head[3].p = 0.0
    x = np.random.default_rng(1).standard_normal((2, 3, 25, 17))
    target = labels((2, 25, 17), 5)
    outputs = ours(Tensor(x))
    expected = theirs(torch.from_numpy(x))
    assert list(outputs) == ["out", "aux"]
    for key, value in outputs.items():
        assert value.shape == (2, 5, 25, 17)
        np.testing.assert_allclose(value.array, expected[key].detach().numpy(), rtol=1e-9, atol=1e-9)
    losses = [torch.nn.functional.cross_entropy(one, torch.from_numpy(target), ignore_index=255)
              for one in expected.values()]  # fmt: skip
    (losses[0] + 0.5 * losses[1]).backward()
    loss = models.segmentation_loss(outputs, Tensor(target))
    loss.backward()
    assert loss.item() == pytest.approx(losses[0].item() + 0.5 * losses[1].item(), rel=1e-12)
    for (key, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad.array, other.grad.numpy(), rtol=1e-6, atol=1e-10, err_msg=key)


@every_family
def test_every_family_as_a_backbone(family):
    model = models.fcn(family, 3, aux_loss=True, **SMALL[family][0])
    x = pictures(family)
    outputs = model(x)
    assert {key: one.shape for key, one in outputs.items()} == dict.fromkeys(["out", "aux"], (2, 3, *x.shape[2:]))
    models.segmentation_loss(outputs, Tensor(labels((2, *x.shape[2:]), 3))).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_backbone_that_is_there_already_is_shared():
    body = models.resnet20(weights="shapes").eval()
    model = models.fcn(body, 3)
    assert models.fcn(models.resnet20(), 3).training
    assert model.backbone["layer3"] is body.layer3 and model.aux_classifier is None and not model.training
    assert models.fcn("resnet20", 3, weights_backbone="shapes").state_dict()["backbone.conv1.weight"].array.tobytes() \
        == body.conv1.weight.array.tobytes()  # fmt: skip
    with pytest.raises(ValueError, match="options and weights of the backbone go with its name"):
        models.fcn(body, 3, weights_backbone="shapes")


def test_dilation_is_the_rule_where_it_is_possible():
    assert models.fcn_resnet18(num_classes=2).backbone["layer4"][0].conv2.dilation == (2, 2)
    plain = models.fcn_resnet18(num_classes=2, replace_stride_with_dilation=None)
    assert plain.backbone["layer4"][0].conv1.stride == (2, 2)


def test_weights_come_back_and_heads_for_other_classes_are_new(tmp_path):
    path = tmp_path / "fcn.safetensors"
    model = small(4, aux_loss=True).eval()
    mr.save(model.state_dict(), path)
    x = pictures("resnet")
    again = small(None, weights=path).eval()
    assert list(again.state_dict()) == list(model.state_dict())
    assert np.array_equal(again(x)["aux"].array, model(x)["aux"].array)
    alone = small(None, weights=path, aux_loss=False).eval()
    assert alone.aux_classifier is None
    assert np.array_equal(alone(x)["out"].array, model(x)["out"].array)
    with pytest.warns(UserWarning, match=r"the head has 4 classes; new last layers .* num_classes=7"):
        other = small(7, weights=path).eval()
    assert other(x)["out"].shape == (2, 7, 32, 32)
    before = other.classifier[0].weight.array
    assert np.array_equal(before, model.classifier[0].weight.array)
    other.reset_head(2)
    assert {key: one.shape[1] for key, one in other(x).items()} == {"out": 2, "aux": 2}
    assert other.classifier[0].weight.array is before


@pytest.mark.parametrize("aux_loss", [False, True])
def test_a_model_folder_holds_all_of_it(tmp_path, aux_loss):
    model = small(3, aux_loss=aux_loss).eval()
    assert models.create(**model.config).config == model.config
    classes = ["background", "cat", "dog"]
    model_directory.save(model, tmp_path / "m", preset_eval((32, 32), None).to_config(), classes)
    again = models.load(tmp_path / "m")
    x = pictures("resnet")
    assert np.array_equal(again(x)["out"].array, model(x)["out"].array) and not again.training
    assert again.metadata["classes"] == classes and again.backbone["layer4"][0].conv2.dilation == (2, 2)
    with pytest.raises(UsageError, match="gives a class for each pixel"):
        load_model(tmp_path / "m")


def test_what_cannot_be_written_down_is_said():
    with pytest.raises(ValueError, match="a backbone that is no model of the zoo"):
        models.FCN(nn.Identity(), models.FCNHead(8, 2)).config  # noqa: B018
    model = small(3)
    model.classifier = nn.Conv2d(512, 3, 1)
    with pytest.raises(ValueError, match="heads other than FCNHead"):
        model.config  # noqa: B018
    with pytest.raises(ValueError, match=r"takes what FCN\.config says"):
        models.create("fcn", weights="some.pth")


def test_weights_of_something_else_are_refused(tmp_path):
    path = tmp_path / "some.safetensors"
    mr.save(models.resnet20().state_dict(), path)
    with pytest.raises(FileFormatError, match="no weights of an FCN: they have no tensor 'classifier"):
        models.fcn("resnet20", weights=path)
    mr.save(models.fcn("resnet20", 4).state_dict(), path)
    with pytest.raises(FileFormatError, match=r"do not fit this FCN: [\s\S]*backbone.layer4"):
        small(weights=path)
    with pytest.raises(FileFormatError, match=r"do not fit this FCN: [\s\S]*aux_classifier"):
        models.fcn("resnet20", weights=path, aux_loss=True)


def test_it_learns_where_figures_are():
    mr.manual_seed(0)
    data = ShapeScenes(24, side=32, figures=("disc",), transforms=v2.preset_segmentation(32, mean=(0.5,) * 3))
    model = models.fcn("resnet20", 2, weights_backbone="shapes")
    trainer = Trainer(model, SGD(model.parameters(), lr=0.05, momentum=0.9), models.segmentation_loss,
                      metrics=["mean_iou", "pixel_acc"], progress=False)  # fmt: skip
    loader = DataLoader(data, 12)
    rows = trainer.fit(loader, loader, epochs=8).rows
    assert rows[-1]["val_mean_iou"] > 0.6 > 0.55 > rows[0]["mean_iou"]
    assert trainer.predict(loader).shape == (24, 2, 32, 32)


@pytest.mark.slow
def test_the_example_runs_on_made_pictures_and_on_folders(tmp_path):
    words = [sys.executable, str(ROOT / "examples" / "segment.py"), "--epochs", "1", "--size", "32", "--samples", "32"]
    folders = tmp_path / "images", tmp_path / "masks"
    data = ShapeScenes(24, side=32)
    for folder in folders:
        folder.mkdir()
    for index in range(24):
        picture, mask = data.load(index)
        picture.save(folders[0] / f"{index}.jpg")
        Image.fromarray(mask.array.astype(np.uint8)).save(folders[1] / f"{index}.png")
    own = ["--images", str(folders[0]), "--masks", str(folders[1]), "--classes", *data.classes]
    for more in ([], own):
        figure = tmp_path / f"figure{len(more)}.png"
        done = subprocess.run([*words, "--output", str(figure), *more], capture_output=True, text=True, cwd=ROOT,
                              env={"PYTHONPATH": str(ROOT), "PATH": ""}, check=True)  # fmt: skip
        lines = done.stdout.splitlines()
        assert [line.split()[0] for line in lines[1:6]] == data.classes and lines[6].startswith("mean")
        with Image.open(figure) as drawn:
            assert drawn.height == 2 * 3 * 32
