"""bfloat16 by the package ml_dtypes: conversions, files, every operation on the stand-in for CuPy."""

import sys

import numpy as np
import pytest

import minires as mr
from minires import backend
from tests.cuda.harness import needs_emulator
from tests.cuda.test_operations import ENTRIES, Case, evaluate

ml_dtypes = pytest.importorskip("ml_dtypes")
BF16 = np.dtype(ml_dtypes.bfloat16)
# einsum: NumPy's knows no such type. The others take Python's numbers, which ml_dtypes widens; CuPy decides by itself.
WIDENED = {"lerp", "clamp", "clamp (tensors)", "tensordot", "normalize", "cosine_similarity", "gaussian_nll_loss",
           "arcface_loss", "dice_loss", "einsum", "sub (alpha)", "inner", "bilinear", "corrcoef"}  # fmt: skip
REFUSED = {"inverse", "det", "slogdet", "logdet", "solve", "cholesky", "qr", "svdvals", "matrix_exp",
           "householder_product"}  # equations with matrices, as in PyTorch  # fmt: skip
QUICK = {"conv2d", "batch_norm", "linear", "matmul", "cross_entropy", "max_pool2d", "avg_pool2d", "relu", "add", "mul",
         "softmax", "layer_norm", "group_norm", "sum", "mean", "where", "cat", "interpolate", "dropout"}  # fmt: skip


def test_conversions_and_text():
    x = mr.tensor([1.0, 1.00390625, -3.0]).bfloat16()
    assert x.dtype == mr.bfloat16 == BF16 and x.is_floating_point() and x.to("bfloat16") is x
    assert x.float().tolist() == [1.0, 1.0, -3.0]
    assert repr(x) == "tensor([ 1.,  1., -3.], dtype=minires.bfloat16)"
    assert (x + mr.ones(3)).dtype == mr.float32 and (x * 2).dtype == mr.bfloat16
    assert (x + mr.ones(3, dtype=mr.float16)).dtype == mr.float32, "neither holds the other"
    assert mr.nn.Linear(2, 2).bfloat16().weight.dtype == mr.bfloat16


def test_on_the_cpu_it_is_kept_and_converted_and_kernels_refuse_it():
    x = mr.ones(1, 1, 4, 4).bfloat16()
    assert (x * x + 1).exp().dtype == BF16
    for compute in (lambda: x @ x, lambda: mr.nn.functional.max_pool2d(x, 2), lambda: x.sum()):
        with pytest.raises(NotImplementedError, match=r"in bfloat16 needs a GPU: on the CPU use .float\(\)"):
            compute()


def test_gradients_pass_a_conversion():
    x = mr.ones(3, requires_grad=True)
    (x.bfloat16() * 3).float().sum().backward()
    assert x.grad.dtype == mr.float32 and x.grad.tolist() == [3, 3, 3]


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_files_hold_it(suffix, tmp_path):
    torch = pytest.importorskip("torch")
    path = str(tmp_path / f"a.{suffix}")
    mr.save({"a": mr.tensor([[1.5, -2.0]]).bfloat16()}, path)
    theirs = torch.load(path) if suffix == "pth" else pytest.importorskip("safetensors.torch").load_file(path)
    assert theirs["a"].dtype == torch.bfloat16 and theirs["a"].tolist() == [[1.5, -2.0]]
    assert mr.load(path)["a"].tolist() == [[1.5, -2.0]]


def test_without_ml_dtypes_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(RuntimeError, match=r"bfloat16 needs the package ml_dtypes: pip install"):
        mr.bfloat16  # noqa: B018
    with pytest.raises(RuntimeError, match="needs the package ml_dtypes"):
        mr.ones(1).to("bfloat16")
    assert not backend.is_bfloat16(np.dtype("V2"))


@pytest.mark.parametrize("label", [
    pytest.param(label, marks=() if label in QUICK else pytest.mark.slow) for label in ENTRIES
    if label not in WIDENED | REFUSED
])  # fmt: skip
@needs_emulator
def test_operations(label, stand_in):
    """Results and gradients have the type, and the values of float32's but for rounding."""
    entry, narrow = ENTRIES[label], Case(0, dtype=BF16)
    for ours, expected in zip(evaluate(entry, narrow, "cuda:0"), evaluate(entry, Case(0), "cpu"), strict=True):
        if isinstance(expected, np.ndarray):
            assert ours.shape == expected.shape
            assert ours.dtype == (BF16 if expected.dtype == np.float32 else expected.dtype)
            if label in QUICK and expected.dtype == np.float32 and expected.size:
                size = max(1.0, float(np.abs(expected).max()))
                assert np.abs(ours.astype(np.float32) - expected).max() <= 0.05 * size


@pytest.mark.parametrize("label", sorted(REFUSED))
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@needs_emulator
def test_refused(label, dtype, stand_in):
    with pytest.raises(RuntimeError, match="low precision types are not supported"):
        evaluate(ENTRIES[label], Case(0, dtype=BF16 if dtype == "bfloat16" else np.dtype(dtype)), "cuda:0")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@needs_emulator
def test_a_network_in_autocast(dtype, stand_in):
    """Forward and backward through convolution, batch norm, pooling and loss; gradients come in float32."""
    with mr.random.address(0, "test"):
        model = mr.nn.Sequential(mr.nn.Conv2d(3, 8, 3, padding=1, bias=False), mr.nn.BatchNorm2d(8), mr.nn.ReLU(),
                                 mr.nn.Conv2d(8, 8, 3, bias=True), mr.nn.MaxPool2d(2), mr.nn.Flatten(),
                                 mr.nn.Linear(32, 3))  # fmt: skip
        x, labels = mr.randn(4, 3, 6, 6), mr.tensor(np.array([0, 2, 1, 1]))
    results = []
    for device in ("cpu", "cuda"):
        model.to(device).zero_grad()
        with mr.amp.autocast("cuda", dtype, enabled=device == "cuda"):
            outputs = model(x.to(device))
            loss = mr.nn.functional.cross_entropy(outputs, labels.to(device))
        loss.backward()
        assert outputs.dtype.name == (dtype if device == "cuda" else "float32") and loss.dtype == mr.float32
        assert all(p.grad.dtype == mr.float32 for p in model.parameters())
        results.append([loss.item(), *(p.grad.cpu().numpy() for p in model.parameters())])
    for expected, ours in zip(*results, strict=True):
        assert np.abs(ours - expected).max() <= 0.06 * max(np.abs(expected).max(), 0.05)
    assert any("conv_mma" in kernel for kernel in stand_in.launched)
