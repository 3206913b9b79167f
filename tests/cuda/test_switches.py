"""tf32: the switches have torch's names and defaults, and the convolutions and products listen to them."""

import numpy as np
import pytest

import minires as mr
from minires.kernels.cuda import switches
from tests.cuda.harness import needs_emulator


@pytest.fixture(autouse=True)
def as_they_were(monkeypatch):
    for name in ("convolutions", "products", "_in_force"):
        monkeypatch.setattr(switches, name, getattr(switches, name))


def test_names_and_defaults_are_torchs():
    torch = pytest.importorskip("torch")
    assert mr.backends.cuda.matmul.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is False
    assert mr.backends.cudnn.allow_tf32 is torch.backends.cudnn.allow_tf32 is True
    assert mr.get_float32_matmul_precision() == torch.get_float32_matmul_precision() == "highest"


def test_setting_them():
    mr.set_float32_matmul_precision("high")
    assert mr.backends.cuda.matmul.allow_tf32 and mr.get_float32_matmul_precision() == "high"
    mr.backends.cuda.matmul.allow_tf32 = False
    assert mr.get_float32_matmul_precision() == "highest"
    with pytest.raises(ValueError, match="highest, high or medium, got 'low'"):
        mr.set_float32_matmul_precision("low")
    for backend in (mr.backends.cudnn, mr.backends.cuda.matmul):
        with pytest.raises(TypeError, match="allow_tf32 must be True or False, got 1"):
            backend.allow_tf32 = 1


@needs_emulator
def test_convolutions_listen(stand_in):
    x, weight = mr.ones(1, 4, 4, 4).cuda(), mr.ones(4, 4, 3, 3).cuda()
    mr.backends.cudnn.allow_tf32 = True
    mr.nn.functional.conv2d(x * (1 + 2.0**-12), weight)
    assert any("conv_mma_forward<float" in kernel for kernel in stand_in.launched)
    stand_in.launched.clear()
    mr.backends.cudnn.allow_tf32 = False
    mr.nn.functional.conv2d(x, weight)
    assert stand_in.launched and not any("conv_mma" in kernel for kernel in stand_in.launched)


def test_products_listen(stand_in):
    stand_in.compute_types.clear()
    a = mr.ones(2, 2).cuda()
    a @ a
    assert stand_in.compute_types == []
    mr.backends.cuda.matmul.allow_tf32 = True
    a @ a
    a @ a
    mr.backends.cuda.matmul.allow_tf32 = False
    a @ a
    assert stand_in.compute_types == [("float32", 7), ("float32", 0)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("shapes", [
    ((3, 2, 4), (3, 4, 5)), ((3, 2, 4), (4, 5)), ((2, 4), (3, 4, 5)), ((3, 1, 2, 4), (2, 4, 5)), ((0, 2, 4), (4, 5)),
    ((3, 2, 0), (3, 0, 5)),
])  # fmt: skip
def test_stacks_of_narrow_matrices(dtype, shapes, stand_in):
    """tf32 loses nothing of them; one matrix on the right is one product, in the type itself."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    stand_in.compute_types.clear()
    draws = np.random.default_rng(0)
    a, b = (mr.tensor(draws.standard_normal(shape).astype("f4")).to(dtype) for shape in shapes)
    y = a.cuda() @ b.cuda()
    expected = a.float() @ b.float()
    assert y.dtype == a.dtype and y.shape == expected.shape
    assert np.abs(y.float().cpu().numpy() - expected.numpy()).max(initial=0) <= 0.02
    assert stand_in.compute_types == ([] if len(shapes[1]) == 2 else [("float32", 7)])
