"""The checker must fail: each function here has one fault of a kind that has been made before, elsewhere."""

import numpy as np
import pytest

from minires.autograd import Function
from minires.gradcheck import GradcheckError, Settings, copy_in_place_order, examine, gradcheck
from minires.kernels import reference
from minires.kernels.reference import conv as reference_conv
from minires.tensor import Tensor


def leaf(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def faulty(forward, backward):
    """A differentiable function from a pair of plain ones."""
    kind = type("Faulty", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})
    return kind.apply


def saving(compute):
    def forward(ctx, *arrays):
        ctx.save_for_backward(*arrays)
        return compute(*arrays)

    return forward


SQUARE = saving(lambda x: x * x)
PRODUCT = saving(lambda a, b: a * b)
correct_square = faulty(SQUARE, lambda ctx, dy: 2 * dy * ctx.saved_arrays[0])


@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (0, 3), (20, 30)])
def test_a_right_derivative_passes(shape):
    assert gradcheck(correct_square, leaf(*shape)) is True


@pytest.mark.parametrize("shape", [(3, 4), (20, 30)])
def test_a_derivative_off_by_a_thousandth_fails(shape):
    off = faulty(SQUARE, lambda ctx, dy: 2.002 * dy * ctx.saved_arrays[0])
    with pytest.raises(GradcheckError, match=r"^input 0 at index \(\d+, \d+\): analytical .*, numerical .*, differ by"):
        gradcheck(off, leaf(*shape))
    assert gradcheck(off, leaf(*shape), raise_exception=False) is False
    assert gradcheck(off, leaf(3, 4), rtol=1e-2) is True


def test_a_wrong_number_without_axes_fails():
    with pytest.raises(GradcheckError, match=r"^input 0: analytical .*, numerical "):
        gradcheck(faulty(SQUARE, lambda ctx, dy: dy), leaf())


@pytest.mark.parametrize("shape", [(3, 4), (20, 30)])
def test_the_entry_at_fault_is_found(shape):
    def backward(ctx, dy):
        dx = 2 * dy * ctx.saved_arrays[0]
        dx[2, 3] += 0.125
        return dx

    with pytest.raises(GradcheckError) as caught:
        gradcheck(faulty(SQUARE, backward), leaf(*shape))
    message = str(caught.value)
    assert message.startswith("input 0 at index (2, 3): ") and "differ by 0.125 where" in message
    analytical, numerical = (float(message.split(word)[1].split(",")[0]) for word in ("analytical ", "numerical "))
    assert analytical - numerical == pytest.approx(0.125, abs=1e-6)


def batch_norm(change):
    """Batch norm in training, its dx changed."""

    def forward(ctx, x, weight, bias):
        y, mean, _, inverse_std = reference.norm.batch_norm_training_forward(x, weight, bias, 1e-5, None, False)
        ctx.save_for_backward(x, weight, mean, inverse_std)
        return y

    def backward(ctx, dy):
        dx, dweight, dbias, _ = reference.norm.batch_norm_training_backward(dy, *ctx.saved_arrays, None)
        return change(dx), dweight, dbias

    return faulty(forward, backward)


def test_a_batch_norm_with_zero_dx_fails():
    inputs = leaf(4, 3, 2, 2), leaf(3, seed=1), leaf(3, seed=2)
    assert gradcheck(batch_norm(lambda dx: dx), inputs)
    with pytest.raises(GradcheckError, match=r"^input 0 at index .* analytical 0, "):
        gradcheck(batch_norm(lambda dx: dx * 0), inputs)


class Assigning(np.ndarray):
    """`a[i] += b` that forgets what was there: the fault of a col2im that writes `=` for `+=`."""

    def __getitem__(self, index):
        return np.zeros_like(super().__getitem__(index)) if isinstance(index, tuple) else super().__getitem__(index)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_col2im_that_assigns_fails(forgets):
    stride, padding, dilation = (1, 2), (1, 0), (1, 1)

    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return reference_conv.conv2d_forward(x, weight, None, stride, padding, dilation, 1)

    def backward(ctx, dy):
        x, weight = ctx.saved_arrays
        dx = np.zeros((*x.shape[:2], x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1]))
        for kh, kw, rows, columns in reference_conv.positions(weight.shape[2:], dy.shape[2:], stride, dilation):
            part = np.einsum("nohw,oc->nchw", dy, weight[:, :, kh, kw])
            if forgets:
                dx[:, :, rows, columns] = part
            else:
                dx[:, :, rows, columns] += part
        dx = dx[:, :, padding[0] : padding[0] + x.shape[2], padding[1] : padding[1] + x.shape[3]]
        dweight = reference_conv.conv2d_weight_gradient(dy, x, weight.shape, stride, padding, dilation, 1)
        return dx, dweight

    inputs = leaf(1, 2, 5, 5), leaf(3, 2, 3, 3, seed=1)
    report = examine(faulty(forward, backward), inputs)
    if not forgets:
        assert report.problem is None and report.largest_error < 1e-6 and report.compared == 50 + 54
    else:
        assert report.problem.startswith("input 0 at index") and "input 1" not in report.problem
        assert report.largest_error > 0.1


@pytest.mark.parametrize("number", [0, 1])
def test_a_missing_term_for_one_input_fails(number):
    def backward(ctx, dy):
        a, b = ctx.saved_arrays
        gradients = [dy * b, dy * a]
        gradients[number] = None
        return tuple(gradients)

    with pytest.raises(GradcheckError) as caught:
        gradcheck(faulty(PRODUCT, backward), (leaf(3), leaf(3, seed=1)))
    assert str(caught.value).startswith(f"input {number} at index") and len(str(caught.value).splitlines()) == 1


def test_two_faults_are_both_told():
    wrong = faulty(PRODUCT, lambda ctx, dy: (dy, dy))
    with pytest.raises(GradcheckError, match=r"(?s)^input 0 at .*\ninput 1 at"):
        gradcheck(wrong, (leaf(3), leaf(3, seed=1)))


def test_a_function_that_writes_into_its_input_fails():
    def forward(ctx, x):
        x *= 1.5
        ctx.save_for_backward(x)
        return x * x

    x = leaf(3)
    before = x.array.copy()
    with pytest.raises(GradcheckError, match=r"^the function has written into input 0$"):
        gradcheck(faulty(forward, lambda ctx, dy: 3 * dy * ctx.saved_arrays[0]), x)
    assert np.array_equal(x.array, before), "the checker works on a copy"


def test_a_function_that_writes_into_an_input_without_gradient_fails():
    def forward(ctx, x, counter):
        counter += 1
        return x * 1.0

    with pytest.raises(GradcheckError, match=r"^the function has written into input 1$"):
        gradcheck(faulty(forward, lambda ctx, dy: (dy, None)), (leaf(3), Tensor(np.zeros(2))))


def test_a_backward_that_writes_into_its_input_or_its_gradient_fails():
    def into_saved(ctx, dy):
        (x,) = ctx.saved_arrays
        x *= 2
        return dy * x

    def into_gradient(ctx, dy):
        dy *= 2
        return dy * ctx.saved_arrays[0]

    for backward in (into_saved, into_gradient):
        with pytest.raises(GradcheckError, match=r"^the backward of Faulty writes into an array that it is given"):
            gradcheck(faulty(SQUARE, backward), leaf(3))


def test_a_backward_that_depends_on_the_number_of_its_calls_fails():
    calls = []

    def backward(ctx, dy):
        calls.append(1)
        return 2 * dy * ctx.saved_arrays[0] * (1 + 1e-9 * (len(calls) - 1))

    with pytest.raises(GradcheckError, match=r"^input 0: a second backward gives another gradient"):
        gradcheck(faulty(SQUARE, backward), leaf(3))
    calls.clear()
    assert gradcheck(faulty(SQUARE, backward), leaf(3), nondet_tol=1e-6)


def test_a_function_that_gives_another_result_each_time_fails():
    random = np.random.default_rng(0)

    def forward(ctx, x):
        return x * random.random()

    with pytest.raises(GradcheckError, match=r"^result 0 differs by .* when computed again"):
        gradcheck(faulty(forward, lambda ctx, dy: dy), leaf(3))


def test_a_gradient_of_the_wrong_shape_fails():
    wrong = faulty(SQUARE, lambda ctx, dy: (2 * dy * ctx.saved_arrays[0]).sum(0))
    with pytest.raises(GradcheckError, match=r"^the backward of Faulty, argument 0: a gradient of shape \(4,\), "):
        gradcheck(wrong, leaf(3, 4))
    assert gradcheck(wrong, leaf(3, 4), raise_exception=False) is False


def test_a_gradient_that_has_lost_half_of_its_digits_fails():
    narrow = faulty(SQUARE, lambda ctx, dy: (2 * dy * ctx.saved_arrays[0]).astype(np.float32))
    with pytest.raises(GradcheckError, match="a gradient of type float32, expected float64"):
        gradcheck(narrow, leaf(3))


def test_nan_never_passes():
    with pytest.raises(GradcheckError, match="result 0 is not finite"):
        gradcheck(faulty(saving(lambda x: x * np.nan), lambda ctx, dy: dy), leaf(3))
    for shape in ((3, 4), (20, 30)):
        with pytest.raises(GradcheckError, match=r"^input 0 at index .* analytical nan"):
            gradcheck(faulty(SQUARE, lambda ctx, dy: dy * np.nan), leaf(*shape))


# ------------------------------------------------------------------------------------------------- several results


def split_square(second):
    """x -> (x^2, x^3), where the derivative of x^3 is given."""

    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x, x**3

    def backward(ctx, da, db):
        (x,) = ctx.saved_arrays
        return 2 * x * da + second(x) * db

    return faulty(forward, backward)


def test_several_results():
    assert gradcheck(split_square(lambda x: 3 * x * x), leaf(2, 3))
    with pytest.raises(GradcheckError, match=r"^input 0 at index"):
        gradcheck(split_square(lambda x: 3 * x), leaf(2, 3))
    assert gradcheck(lambda x: [*split_square(lambda x: 3 * x * x)(x), "not a tensor"], leaf(2, 3))


def test_a_backward_that_mixes_its_results_gradients_fails():
    """Right when both gradients come, wrong when one is zero."""

    def backward(ctx, da, db):
        (x,) = ctx.saved_arrays
        return 2 * x * da + 3 * x * x * db + (0.0 if da.any() and db.any() else 0.5)

    kind = faulty(lambda ctx, x: (ctx.save_for_backward(x), (x * x, x**3))[1], backward)
    with pytest.raises(GradcheckError, match=r"^input 0: backward result by result gives another gradient"):
        gradcheck(kind, leaf(2, 3))


# --------------------------------------------------------------------------------------------------------- modules


class Scale:
    """A module in small: y = weight x^2, with a buffer that counts the calls."""

    def __init__(self, factor=1.0):
        self.weight, self.count, self.factor = leaf(3, seed=5), Tensor(np.zeros(1)), factor

    def named_parameters(self):
        return [("weight", self.weight)]

    def buffers(self):
        return [self.count]

    def __call__(self, x):
        self.count.array += 1
        factor = self.factor
        product = faulty(PRODUCT, lambda ctx, dy: (dy * ctx.saved_arrays[1], factor * dy * ctx.saved_arrays[0]))
        return product(correct_square(x), self.weight)


def test_the_parameters_of_a_module_are_checked_and_left_alone():
    module, x = Scale(), leaf(3)
    module.weight.grad = Tensor(np.ones(3))
    before = module.weight.array.copy()
    assert gradcheck(module, x)
    assert np.array_equal(module.weight.array, before) and module.weight.grad.tolist() == [1, 1, 1]
    assert module.count.item() == 0 and x.grad is None
    with pytest.raises(GradcheckError, match=r"^parameter weight at index \(\d,\)"):
        gradcheck(Scale(1.001), x)
    assert gradcheck(Scale(), Tensor(np.ones(3))), "the inputs may need no gradient"


# ------------------------------------------------------------------------------------------------------- the inputs


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(4, 6)[::2, 1::2],
        np.arange(24.0).reshape(4, 6)[::-1, ::-3],
        np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(3.0),
    ],
)
def test_memory_order_is_kept(array):
    copy = copy_in_place_order(array)
    assert np.array_equal(copy, array) and copy.strides == array.strides and not np.shares_memory(copy, array)
    seen = []

    def forward(ctx, x):
        seen.append(x.strides)
        ctx.save_for_backward(x)
        return x * x

    assert gradcheck(faulty(forward, lambda ctx, dy: 2 * dy * ctx.saved_arrays[0]), Tensor(array, requires_grad=True))
    assert set(seen) == {array.strides}


def test_entries_that_share_memory_are_taken_apart():
    row = np.broadcast_to(np.arange(1.0, 4.0), (2, 3))
    windows = np.lib.stride_tricks.sliding_window_view(np.arange(1.0, 6.0), 3)
    for array in (row, windows):
        assert gradcheck(correct_square, Tensor(array, requires_grad=True))
    x = leaf(3)
    assert gradcheck(faulty(PRODUCT, lambda ctx, dy: (dy * ctx.saved_arrays[1], dy * ctx.saved_arrays[0])), (x, x))


def test_inputs_that_cannot_be_checked():
    with pytest.raises(ValueError, match="input 1 is float32; finite differences need float64"):
        gradcheck(lambda x, y: x, (leaf(2), Tensor(np.ones(2, np.float32), requires_grad=True)))
    with pytest.raises(ValueError, match="at least one input or parameter that requires a gradient"):
        gradcheck(correct_square, (Tensor(np.ones(2)), 3))
    with pytest.raises(GradcheckError, match="no result of the function requires a gradient"):
        gradcheck(lambda x: x.detach(), leaf(2))
    with pytest.raises(ZeroDivisionError):
        gradcheck(lambda x: 1 / 0, leaf(2))


def test_settings_are_used():
    seen = []

    def forward(ctx, x):
        seen.append(x.copy())
        return x * 1.0

    x = leaf(9)
    examine(faulty(forward, lambda ctx, dy: dy), x, Settings(eps=0.5))
    assert np.abs(np.array(seen) - x.array).max() == pytest.approx(0.5)
    assert examine(correct_square, x, Settings(max_entries=8, directions=3)).compared == 3
    assert examine(correct_square, x, Settings(max_entries=9)).compared == 9


def test_the_seed_decides():
    cotangents = []

    def backward(ctx, dy):
        cotangents.append(dy.copy())
        return dy

    for seed in (0, 0, 1):
        gradcheck(faulty(lambda ctx, x: x * 1.0, backward), leaf(4), seed=seed)
    first, second, third = cotangents[::2]
    assert np.array_equal(first, second) and not np.array_equal(first, third)
    assert (np.abs(cotangents) >= 0.5).all() and np.min(cotangents) < 0 < np.max(cotangents)


def test_hostile_cancellation_is_seen():
    """The sum of a softmax is one: with a cotangent of ones a zero gradient would look right."""

    def forward(ctx, x):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    with pytest.raises(GradcheckError):
        gradcheck(faulty(forward, lambda ctx, dy: dy * 0), leaf(2, 4))
