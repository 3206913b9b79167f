"""Maps of where a model looks: against the formulas by hand, and against a picture whose reason is known."""

import numpy as np
import pytest

import minires as mr
from minires import models, nn, random
from minires.explain.attribution import enlarge, grad_cam, guided_gradients, occlusion


@pytest.fixture(scope="module")
def model():
    with random.address(3, "test-model"):
        return models.create("cifar_resnet", depth=8, num_classes=4).eval()


IMAGES = mr.tensor(np.random.default_rng(1).normal(size=(3, 3, 16, 16)).astype(np.float32))


class Corner(nn.Module):
    """Scores that are the mean brightness of the upper left and of the lower right quarter."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward_features(self, x):
        return self.relu(x)

    def forward_head(self, x):
        half = x.shape[2] // 2
        first, second = x[:, :, :half, :half], x[:, :, half:, half:]
        return mr.stack([first.mean(dim=(1, 2, 3)), second.mean(dim=(1, 2, 3))], dim=1)

    def forward(self, x):
        return self.forward_head(self.forward_features(x))


def test_grad_cam_is_its_formula(model):
    classes = [2, 0, 3]
    found = grad_cam(model, IMAGES, classes)
    with mr.no_grad():
        features = model.forward_features(IMAGES).numpy()
    weights = model.fc.weight.detach().numpy()[classes] / features[0, 0].size  # average pooling, then a linear layer
    expected = np.maximum(np.einsum("nc,nchw->nhw", weights, features), 0)
    assert any(one.any() for one in expected)
    expected = [one / (one.max() or 1) for one in expected]
    assert found == pytest.approx(np.stack(expected), abs=1e-5)


def test_the_layer_by_name_and_the_last_feature_map_agree(model):
    assert grad_cam(model, IMAGES, layer="layer3") == pytest.approx(grad_cam(model, IMAGES), abs=1e-6)
    assert grad_cam(model, IMAGES, layer="layer1").shape == (3, 16, 16)


def test_the_model_is_as_it_was(model):
    model.train()
    model.fc.weight.requires_grad = False
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    grad_cam(model, IMAGES)
    grad_cam(model, IMAGES, layer="layer2")
    guided_gradients(model, IMAGES)
    occlusion(model, IMAGES[0], size=8, stride=8)
    assert model.training and not model.fc.weight.requires_grad and model.conv1.weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all((tensor.numpy() == before[name]).all() for name, tensor in model.state_dict().items())
    assert not any(module.has_hooks for module in model.modules())
    model.fc.weight.requires_grad = True
    model.eval()


def test_occlusion_finds_the_place_that_matters():
    picture = np.zeros((1, 16, 16), np.float32)
    picture[0, 1:5, 1:5] = 5
    fall = occlusion(Corner(), mr.tensor(picture), size=4, stride=4)
    assert fall.shape == (4, 4)
    assert np.unravel_index(fall.argmax(), fall.shape) == (0, 0) and abs(fall[2:, 2:]).max() == 0
    assert occlusion(Corner(), mr.tensor(picture), size=5, stride=4).shape == (4, 4), "the rest is covered, too"


def test_guided_gradients_keep_what_speaks_for_the_class(model):
    found = guided_gradients(Corner(), mr.ones(1, 1, 4, 4), [0])
    assert found[0, 0].tolist() == [[0.25, 0.25, 0, 0], [0.25, 0.25, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    plain = mr.tensor(IMAGES.numpy().copy(), requires_grad=True)
    model(plain)[np.arange(3), [0, 1, 2]].sum().backward()
    guided = guided_gradients(model, IMAGES, [0, 1, 2])
    assert guided.shape == (3, 3, 16, 16) and abs(guided - plain.grad.numpy()).max() > 1e-4


def test_guided_is_plain_where_nothing_is_negative():
    """Against torch's rule by hand: two layers, one with a negative weight, whose gradient must not pass."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with mr.no_grad():
        net[0].weight.copy_(mr.tensor([[1.0, 2.0], [3.0, 4.0]]))
        net[0].bias.zero_()
        net[2].weight.copy_(mr.tensor([[1.0, -1.0], [0.0, 0.0]]))
        net[2].bias.zero_()
    assert guided_gradients(net, mr.ones(1, 2), [0]).tolist() == [[1.0, 2.0]]


def guided_relu(torch):
    """relu, whose gradient passes where both the input and the gradient are positive."""

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, gradient):
            return gradient * (ctx.saved_tensors[0] > 0) * (gradient > 0)

    return Guided.apply


@pytest.mark.parametrize(
    ("name", "layers", "bottleneck"),
    [("resnet18", [2, 2, 2, 2], False), pytest.param("resnet50", [3, 4, 6, 3], True, marks=pytest.mark.slow)],
)
def test_a_whole_network_against_torch_with_hooks(name, layers, bottleneck, monkeypatch):
    """Every ReLU is guided, also one module that is called twice; Grad-CAM in the midst; squares one by one."""
    torch = pytest.importorskip("torch")
    from tests.torch_resnet import TorchResNet

    with random.address(3, "test-model"):
        ours = models.create(name, num_classes=5).double().eval()
    theirs = TorchResNet(layers, bottleneck, 5).double().eval()
    theirs.load_state_dict({key: torch.tensor(tensor.numpy().copy()) for key, tensor in ours.state_dict().items()})
    pictures = np.random.default_rng(2).normal(size=(2, 3, 32, 40))
    kept = []
    handle = theirs.layer3.register_forward_hook(lambda module, inputs, output: kept.append(output))
    scores = theirs(torch.tensor(pictures))[torch.arange(2), torch.tensor([1, 4])]
    slopes = torch.autograd.grad(scores.sum(), kept[0])[0].numpy()
    handle.remove()
    maps = np.maximum((slopes.mean(axis=(2, 3), keepdims=True) * kept[0].detach().numpy()).sum(axis=1), 0)
    assert maps.any()
    maps /= np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-300)  # one may be 0 all over
    np.testing.assert_allclose(grad_cam(ours, mr.tensor(pictures), [1, 4], layer="layer3"), maps, atol=1e-9)

    with torch.no_grad():

        def chance(picture):
            return torch.softmax(theirs(torch.tensor(picture[None])), 1)[0, 2].item()

        expected = []
        for top in (0, 14, 22):
            for left in (0, 14, 28, 30):
                covered = pictures[0].copy()
                covered[:, top : top + 10, left : left + 10] = 0.5
                expected.append(chance(pictures[0]) - chance(covered))
    falls = occlusion(ours, mr.tensor(pictures[0]), target=2, size=10, stride=14, fill=0.5, batch_size=5)
    np.testing.assert_allclose(falls, np.reshape(expected, (3, 4)), atol=1e-9)

    monkeypatch.setattr(torch, "relu", guided_relu(torch))
    leaf = torch.tensor(pictures, requires_grad=True)
    theirs(leaf)[torch.arange(2), torch.tensor([1, 4])].sum().backward()
    np.testing.assert_allclose(guided_gradients(ours, mr.tensor(pictures), [1, 4]), leaf.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("classes", [[0], [0, 1, 9], [0, 1, -1], [0.0, 1.0, 2.0]])
def test_wrong_classes(model, classes):
    with pytest.raises(ValueError, match="one for each picture"):
        grad_cam(model, IMAGES, classes)


@pytest.mark.parametrize(("layer", "message"), [("layer9", "no layer 'layer9'"), ("fc", "no feature map")])
def test_wrong_layers(model, layer, message):
    with pytest.raises(ValueError, match=message):
        grad_cam(model, IMAGES, layer=layer)


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (17, 1), (4, 0)])
def test_wrong_squares(size, stride):
    with pytest.raises(ValueError, match="does not fit"):
        occlusion(Corner(), mr.zeros(1, 16, 16), size=size, stride=stride)


def test_enlarge():
    assert enlarge(np.array([[[0.0, 1.0]]]), 2, 4).shape == (1, 2, 4)
