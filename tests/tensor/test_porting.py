"""What programs written for torch say besides operations: memory formats, the default type, second names, marks."""

import pytest

import minires as mr
from minires.nn.modules.batchnorm import _BatchNorm
from minires.nn.modules.utils import _pair
from minires.utils.data import DataLoader, Dataset


@pytest.fixture
def in_float64():
    mr.set_default_dtype(mr.float64)
    yield
    mr.set_default_dtype(mr.float32)


def test_default_type(in_float64):
    assert mr.get_default_dtype() == mr.float64
    whole = mr.tensor([1, 2])
    made = (mr.tensor(0.1), mr.rand(2), mr.randn(2), mr.ones(2), mr.arange(0.0, 2), mr.linspace(0, 1, 3),
            mr.full((2,), 0.5), whole / 2, whole * 0.5, whole.exp(), whole.sigmoid(), mr.eye(2),
            mr.nn.Linear(2, 2).weight, mr.nn.BatchNorm2d(2).running_var, mr.where(whole > 1, 1.0, 2.0))  # fmt: skip
    assert [x.dtype.name for x in made] == ["float64"] * len(made)
    with pytest.raises(TypeError, match="default type"):
        mr.set_default_dtype(mr.int64)


def test_floats_are_rounded_once():
    for x in (
        mr.tensor(0.1, dtype=mr.float64),
        mr.as_tensor([0.1], dtype=mr.float64),
        mr.ones(1).double().new_tensor(0.1),
    ):
        assert x.item() == 0.1


def test_memory_formats():
    x = mr.randn(2, 3, 4, 5, requires_grad=True)
    last = x.to(memory_format=mr.channels_last)
    assert last.is_contiguous(memory_format=mr.channels_last) and not last.is_contiguous() and mr.equal(last, x)
    assert last.contiguous(memory_format=mr.channels_last) is last
    assert last.contiguous().is_contiguous() and last.clone().stride() == last.stride()
    assert last.clone(memory_format=mr.contiguous_format).is_contiguous()
    last.sum().backward()
    assert mr.equal(x.grad, mr.ones(2, 3, 4, 5))
    layer = mr.nn.Conv2d(3, 4, 3).to(mr.device("cpu"), memory_format=mr.channels_last)
    assert layer.weight.is_contiguous(memory_format=mr.channels_last)
    with pytest.raises(RuntimeError, match="rank 4"):
        mr.ones(2, 3).contiguous(memory_format=mr.channels_last)
    assert repr(mr.channels_last) == "minires.channels_last"


def test_to_takes_its_switches_by_position():
    x = mr.ones(2)
    assert x.to("cpu", mr.float64, True).dtype == mr.float64
    assert x.to(mr.float32, False, True) is not x and x.to(mr.float32, False) is x


def test_questions_and_second_names():
    x = mr.ones(2, 3)
    assert x.is_cpu and not x.is_sparse and not x.is_complex() and x.is_signed() and not mr.is_complex(x)
    assert mr.conv2d is mr.nn.functional.conv2d and "conv2d" in dir(mr)
    assert mr.nn.Module().type(mr.float64) is not None
    with pytest.raises(AttributeError):
        mr.conv9d  # noqa: B018
    mr._assert(True, "fine")
    with pytest.raises(AssertionError, match="told"):
        mr._assert(False, "told")


def test_marks_for_compilers_change_nothing():
    def function(x):
        return x + 1

    for mark in (
        mr.jit.unused,
        mr.jit.ignore,
        mr.jit.export,
        mr.jit.ignore(drop=True),
        mr.jit.script_if_tracing,
        mr.fx.wrap,
    ):
        assert mark(function) is function
    assert not mr.jit.is_scripting() and not mr.jit.is_tracing() and mr.jit.annotate(int, 3) == 3
    for compiler in (mr.jit.script, mr.jit.trace):
        with pytest.raises(NotImplementedError, match="compile_inference"):
            compiler(function)
    with pytest.raises(TypeError, match=r"fx\.wrap"):
        mr.fx.wrap(3)


def test_module_names():
    assert isinstance(mr.nn.BatchNorm2d(2), _BatchNorm) and _pair(3) == (3, 3) and _pair([1, 2]) == (1, 2)
    assert mr.nn.modules.Conv2d is mr.nn.Conv2d and mr.nn.common_types._size_2_t
    with pytest.raises(AttributeError):
        mr.nn.modules.functional  # noqa: B018


class Squares(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return float(index**2)


def test_data_sets_of_ones_own():
    assert [batch.tolist() for batch in DataLoader(Squares() + Squares(), batch_size=4)] == [[0, 1, 4, 0], [1, 4]]
    with pytest.raises(NotImplementedError):
        Dataset()[0]


def test_in_place_results_of_comparisons_have_no_gradient():
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    y = (x * 2).gt_(3.0)
    y.sum().backward()
    assert y.tolist() == [0, 1] and x.grad.tolist() == [0, 0]


def test_in_place_rearrangement():
    x = mr.arange(6.0).reshape(1, 2, 3).requires_grad_()
    y = (x * 2).squeeze_(0).t_().unsqueeze_(-1)
    assert y.shape == (3, 2, 1) and "Reshape" in y.grad_fn.name
    (y[:, 0] * mr.tensor([[1.0], [2.0], [3.0]])).sum().backward()
    assert x.grad.tolist() == [[[2, 4, 6], [0, 0, 0]]]
    with pytest.raises(RuntimeError, match="leaf"):
        x.squeeze_()


def test_threads():
    before = mr.get_num_threads()
    try:
        mr.set_num_threads(1)
        assert mr.get_num_threads() == 1
        for wrong in (0, -1, 1.5):
            with pytest.raises(RuntimeError, match="positive integer"):
                mr.set_num_threads(wrong)
    finally:
        mr.set_num_threads(before)
    assert mr.get_num_threads() == before


def test_the_state_of_the_generator():
    before = mr.get_rng_state()
    try:
        assert mr.manual_seed(7) is mr.default_generator and mr.initial_seed() == 7
        state, first = mr.get_rng_state(), mr.rand(3).tolist()
        mr.set_rng_state(state)
        assert mr.rand(3).tolist() == first
        seeds = {mr.seed(), mr.seed()}
        assert len(seeds) == 2 and mr.initial_seed() in seeds
    finally:
        mr.set_rng_state(before)


def test_a_shape_knows_its_number_of_elements():
    shape = mr.zeros(2, 3, 4).shape
    assert isinstance(shape, mr.Size) and isinstance(shape, tuple) and shape == (2, 3, 4)
    assert shape.numel() == 24 and shape[1:].numel() == 12 and type(shape[0]) is int and mr.Size([]).numel() == 1


def test_functions_in_place_are_the_methods():
    x = mr.tensor([-1.0, 2.0])
    assert mr.relu_(x) is x and x.tolist() == [0, 2] and mr.nn.functional.elu_(x) is x
    assert mr.sigmoid_ is mr.Tensor.sigmoid_ and mr.selu_ is mr.nn.functional.selu_
    assert all(hasattr(mr, name) for name in dir(mr)) and "relu_" in dir(mr)


def test_an_axis_by_numpy_s_name():
    x = mr.arange(6.0).reshape(2, 3)
    assert x.sum(axis=1, keepdims=True).shape == (2, 1) and mr.cat([x, x], axis=1).shape == (2, 6)
    with pytest.raises(TypeError):
        x.sum(axis=1, dim=0)
