"""ONNX files of what is not in a ResNet: activations, attention, in-place operations, other people's models."""

import numpy as np
import pytest

from minires import nn
from minires import onnx as exporter
from minires.errors import MiniresError
from minires.nn import functional as F
from minires.tensor import Tensor
from tests.models.ported_files import FILES, load

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CURVES = {
    **{name: getattr(F, name) for name in ("elu", "selu", "relu6", "hardsigmoid", "hardswish", "hardshrink",
                                           "softshrink", "silu", "mish", "gelu", "softplus", "logsigmoid", "softsign")},
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2), "celu": lambda x: F.celu(x, 0.7),
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 2.0), "threshold": lambda x: F.threshold(x, 0.3, -2.0),
    "gelu with tanh": lambda x: F.gelu(x, approximate="tanh"), "softplus, beta": lambda x: F.softplus(x, 2.0),
    "roll": lambda x: x.roll((1, -3), (1, 3)), "reflected": lambda x: F.pad(x, (1, 2, 3, 0), "reflect"),
    "repeated": lambda x: F.pad(x, (1, 2, 3, 0), "replicate"), "log1p": lambda x: (x * x).log1p(),
    "erf": lambda x: x.erf(),
    "rms_norm": lambda x: F.rms_norm(x, (6,), eps=1e-5), "layer_norm": lambda x: F.layer_norm(x, (6,)),
    "attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1),
}  # fmt: skip


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(np.array([2.0, -1.0, 3.0], np.float32).reshape(3, 1, 1))

    def forward(self, x):
        return self.function(x * self.weight)


def error_of(model, path, shape):
    exporter.export(model.eval(), path, (1, *shape[1:]))
    return exporter.compare(model, path, Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32)))


@pytest.mark.parametrize("name", CURVES)
def test_functions(name, tmp_path):
    assert error_of(Applied(CURVES[name]), tmp_path / "m.onnx", (2, 3, 6, 6)) < 1e-5


def added(x):
    y = x * 2
    z = y
    y += x
    y *= y
    return z - x


def into_a_part(x):
    y = x * 1
    y[:, 1] = x[:, 0]
    y[:, 2] += 1
    return y


@pytest.mark.parametrize("function", [added, lambda x: (x * 1).relu_().add_(x).clamp_(0.2, 3)])
def test_in_place_operations_are_written(function, tmp_path):
    assert error_of(Applied(function), tmp_path / "m.onnx", (2, 3, 6, 6)) < 1e-5


def hidden(x):
    y = x * 1
    y[:, :1].add_(5.0)  # through a view: what y is now, no recorded operation says
    return y * 2


@pytest.mark.parametrize("function", [into_a_part, hidden])
def test_what_is_changed_in_part_is_refused_not_forgotten(function, tmp_path):
    with pytest.raises(MiniresError, match="ONNX export"):
        error_of(Applied(function), tmp_path / "m.onnx", (2, 3, 6, 6))


class Between(nn.Module):
    """Something is added, in place, between a convolution and a batch norm, which must not be folded then."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        y += x
        return self.bn(y)


def test_folding_sees_what_is_done_in_place():
    model, x = Between(), Tensor(np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float32))
    for _ in range(3):
        model(x * 2 + 1)
    wanted = model.eval()(x).array
    assert np.allclose(nn.compile_inference(model, x)(x).array, wanted, atol=1e-5)


@pytest.mark.parametrize(
    "name", [name for name in FILES if name not in ("unet", "vit", "vgg_squeezenet", "retina", "swin")]
)
def test_models_of_other_hands(name, tmp_path):
    assert error_of(load(name, "minires").build(), tmp_path / "m.onnx", (2, 3, 32, 32)) < 1e-5


def test_an_encoder_of_transformers(tmp_path):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.layer = nn.Conv2d(3, 8, 4, 4), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x):
            return self.layer(self.patches(x).flatten(2).transpose(1, 2)).mean(1)

    assert error_of(Encoder(), tmp_path / "m.onnx", (2, 3, 16, 16)) < 1e-5
