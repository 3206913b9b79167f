"""The operations as methods of Tensor: `x.relu()` and `x + y` read as in PyTorch.

The arithmetic lives above, in minires/ops/. Each operation there registers itself by name with `@register`, and the
methods here, which say `operation("name")`, look it up when called: so this floor imports nothing from above.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from minires.autograd import Variable, refresh
from minires.placement import on_their_device

OPERATIONS: dict[str, Callable[..., Any]] = {}

Operation = TypeVar("Operation", bound=Callable[..., Any])


NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def register(function: Operation) -> Operation:
    """Decorator: make an operation known by its name, so that Tensor's methods find it. It follows its tensors' GPU."""
    function = on_their_device(_with_numpy_names(function))  # type: ignore[assignment]
    OPERATIONS[function.__name__] = function
    return function


def _with_numpy_names(function: Operation) -> Operation:
    """As in PyTorch, an argument `dim` may also be given as `axis`, and `keepdim` as `keepdims`."""
    code: Any = getattr(function, "__code__", None)
    if code is None or "dim" not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        return function

    @functools.wraps(function)
    def call(*arguments: Any, **settings: Any) -> Any:
        for other, name in NUMPY_NAMES.items():
            if other in settings and name not in settings:
                settings[name] = settings.pop(other)
        return function(*arguments, **settings)

    return call  # type: ignore[return-value]


def operation(name: str, reflected: bool = False) -> Any:
    """A method that calls the registered operation `name` with the tensor first (second, if `reflected`)."""

    def method(self: Any, *arguments: Any, **settings: Any) -> Any:
        if reflected:
            return OPERATIONS[name](arguments[0], self, *arguments[1:], **settings)
        return OPERATIONS[name](self, *arguments, **settings)

    method.__name__, method.__qualname__ = name, f"Tensor.{name}"
    method.__doc__ = f"See minires.ops.{name}."
    return method


def operations(names: str) -> list[Any]:
    """One method for each of the words."""
    return [operation(name) for name in names.split()]


def comparison(name: str) -> Any:
    """As `operation`, for == and !=: what is neither a tensor nor an array nor a number is simply not equal."""
    compute = operation(name)

    def method(self: Any, other: Any) -> Any:
        comparable = isinstance(other, Variable | bool | int | float) or hasattr(other, "dtype")
        return compute(self, other) if comparable else NotImplemented

    method.__name__, method.__qualname__, method.__doc__ = name, f"Tensor.{name}", compute.__doc__
    return method


def in_place(name: str) -> Any:
    """A method that computes the registered operation `name` and writes the result into the tensor itself."""

    def method(self: Any, *arguments: Any, **settings: Any) -> Any:
        return self._become(lambda source: OPERATIONS[name](source, *arguments, **settings), f"{name}_")

    method.__name__, method.__qualname__ = f"{name}_", f"Tensor.{name}_"
    method.__doc__ = f"minires.ops.{name}, written into this tensor. Returns the tensor."
    return method


def all_in_place(names: str) -> list[Any]:
    """One method that writes into the tensor for each of the words."""
    return [in_place(name) for name in names.split()]


def rearranged_in_place(name: str) -> Any:
    """A method that gives the tensor itself the shape that `name` computes, without moving an element."""

    def method(self: Any, *arguments: Any, **settings: Any) -> Any:
        refresh(self)
        self._must_be_writable(f"{name}_")
        result = OPERATIONS[name](self._alias(), *arguments, **settings)
        self.array = result.array
        self.version.value += 1
        if result.requires_grad:
            self.node, self.output_index = result.node, result.output_index
        return self

    method.__name__, method.__qualname__ = f"{name}_", f"Tensor.{name}_"
    method.__doc__ = f"minires.ops.{name} of this tensor, in place. Returns the tensor."
    return method


class Methods:
    """What Tensor inherits: every operation whose first argument is a tensor, under PyTorch's names."""

    __add__, __radd__ = operation("add"), operation("add", reflected=True)
    __sub__, __rsub__ = operation("sub"), operation("sub", reflected=True)
    __mul__, __rmul__ = operation("mul"), operation("mul", reflected=True)
    __truediv__, __rtruediv__ = operation("div"), operation("div", reflected=True)
    __pow__, __rpow__ = operation("pow"), operation("pow", reflected=True)
    __matmul__, __rmatmul__ = operation("matmul"), operation("matmul", reflected=True)
    __floordiv__, __rfloordiv__ = operation("floor_divide"), operation("floor_divide", reflected=True)
    __mod__, __rmod__ = operation("remainder"), operation("remainder", reflected=True)
    __neg__, __abs__, __invert__ = operations("neg abs bitwise_not")
    __eq__, __ne__ = comparison("eq"), comparison("ne")
    __lt__, __le__, __gt__, __ge__ = operations("lt le gt ge")
    __and__, __or__, __xor__ = operations("bitwise_and bitwise_or bitwise_xor")
    __rand__, __ror__, __rxor__ = (operation(f"bitwise_{word}", reflected=True) for word in ("and", "or", "xor"))
    __pos__ = operation("positive")
    __lshift__, __rlshift__ = operation("bitwise_left_shift"), operation("bitwise_left_shift", reflected=True)
    __rshift__, __rrshift__ = operation("bitwise_right_shift"), operation("bitwise_right_shift", reflected=True)
    __getitem__ = operation("getitem")
    __iadd__, __isub__, __imul__, __itruediv__ = all_in_place("add sub mul div")
    __ifloordiv__, __imod__, __ipow__ = all_in_place("floor_divide remainder pow")
    __iand__, __ior__, __ixor__ = all_in_place("bitwise_and bitwise_or bitwise_xor")

    # arithmetic
    add, sub, mul, div, pow, neg = operations("add sub mul div pow neg")
    subtract, multiply, divide, true_divide, negative = operations("sub mul div div neg")
    floor_divide, remainder, fmod, reciprocal, square = operations("floor_divide remainder fmod reciprocal square")
    abs, absolute, sign, sgn, maximum, minimum = operations("abs abs sign sign maximum minimum")
    floor, ceil, round, trunc, fix, frac = operations("floor ceil round trunc trunc frac")
    clamp, clip, clamp_min, clamp_max, lerp, nan_to_num = operations("clamp clamp clamp_min clamp_max lerp nan_to_num")
    addcmul, addcdiv, where, masked_fill = operations("addcmul addcdiv where_method masked_fill")
    exp, exp2, expm1, log, log1p, log2, log10 = operations("exp exp2 expm1 log log1p log2 log10")
    sqrt, rsqrt, logaddexp, xlogy, logit, erf, erfc = operations("sqrt rsqrt logaddexp xlogy logit erf erfc")
    sin, cos, tan, asin, acos, atan, atan2 = operations("sin cos tan asin acos atan atan2")
    arcsin, arccos, arctan, arctan2, sinc, hypot = operations("asin acos atan atan2 sinc hypot")
    sinh, cosh, asinh, acosh, atanh = operations("sinh cosh asinh acosh atanh")
    arcsinh, arccosh, arctanh, deg2rad, rad2deg = operations("asinh acosh atanh deg2rad rad2deg")
    relu, sigmoid, tanh, softmax, log_softmax = operations("relu sigmoid tanh softmax log_softmax")

    # comparison and logic
    eq, ne, lt, le, gt, ge = operations("eq ne lt le gt ge")
    not_equal, less, less_equal, greater, greater_equal = operations("ne lt le gt ge")
    logical_and, logical_or, logical_xor, logical_not = operations("logical_and logical_or logical_xor logical_not")
    bitwise_and, bitwise_or, bitwise_xor, bitwise_not = operations("bitwise_and bitwise_or bitwise_xor bitwise_not")
    isnan, isfinite, isinf, isclose, allclose, equal = operations("isnan isfinite isinf isclose allclose equal")

    # reductions
    sum, mean, var, std, prod, norm, logsumexp = operations("sum mean var std prod norm logsumexp")
    max, min, amax, amin, argmax, argmin, all, any = operations("max min amax amin argmax argmin all any")
    cumsum, cumprod, diff, count_nonzero, trace = operations("cumsum cumprod diff count_nonzero trace")
    bincount, histc, unique, unique_consecutive = operations("bincount histc unique unique_consecutive")

    aminmax, quantile, nanquantile, mode = operations("aminmax quantile nanquantile mode")
    nansum, nanmean = operations("nansum nanmean")
    fmax, fmin, cummax, cummin, logcumsumexp = operations("fmax fmin cummax cummin logcumsumexp")
    copysign, heaviside, signbit, positive = operations("copysign heaviside signbit positive")
    isposinf, isneginf, isreal, erfinv = operations("isposinf isneginf isreal erfinv")
    logaddexp2, ldexp, gcd, lcm = operations("logaddexp2 ldexp gcd lcm")
    nanmedian, cov, corrcoef, renorm, addbmm = operations("nanmedian cov corrcoef renorm addbmm")
    bitwise_left_shift, bitwise_right_shift = operations("bitwise_left_shift bitwise_right_shift")

    # matrices
    matmul, mm, bmm, mv, dot, outer = operations("matmul mm bmm mv dot outer")
    addmm, baddbmm, addmv, addr, inner, kron = operations("addmm baddbmm addmv addr inner kron")
    vdot, cross, dist, ger = operations("vdot cross dist outer")
    inverse, det, slogdet, logdet, cholesky = operations("inverse det slogdet logdet cholesky")
    matrix_power, qr, matrix_exp = operations("matrix_power qr matrix_exp")

    # shapes
    reshape, flatten, unflatten, ravel = operations("reshape flatten unflatten ravel")
    transpose, swapaxes, swapdims, permute, t = operations("transpose transpose transpose permute t")
    movedim, moveaxis, squeeze, unsqueeze = operations("movedim movedim squeeze unsqueeze")
    expand, broadcast_to, tile, repeat, repeat_interleave = operations(
        "expand broadcast_to tile repeat repeat_interleave"
    )
    contiguous, clone, flip, fliplr, flipud, rot90, roll = operations("contiguous clone flip fliplr flipud rot90 roll")
    split, chunk, unbind, select, narrow, unfold = operations("split chunk unbind select narrow windows")
    diagonal, diag, diag_embed, tril, triu = operations("diagonal diag diag_embed tril triu")
    tensor_split, hsplit, vsplit, diagflat, msort = operations("tensor_split hsplit vsplit diagflat msort")
    squeeze_, unsqueeze_, transpose_, swapaxes_, swapdims_, t_ = (
        rearranged_in_place(name) for name in ["squeeze", "unsqueeze", "transpose", "transpose", "transpose", "t"]
    )
    T = property(operation("t"), doc="A matrix with its two axes exchanged.")
    mT = property(operation("matrix_transpose"), doc="The last two axes exchanged.")  # noqa: N815 - PyTorch's name

    # picking out and placing
    gather, scatter, scatter_add, take, take_along_dim = operations("gather scatter scatter_add take take_along_dim")
    index_select, index_add, index_copy, index_fill = operations("index_select index_add index_copy index_fill")
    scatter_reduce, index_put, diagonal_scatter = operations("scatter_reduce index_put diagonal_scatter")
    select_scatter, slice_scatter = operations("select_scatter slice_scatter")
    masked_select, masked_scatter, nonzero, argwhere = operations("masked_select masked_scatter nonzero argwhere")
    sort, argsort, topk, kthvalue, median = operations("sort argsort topk kthvalue median")
    new_tensor, new_zeros, new_ones = operations("new_tensor new_zeros new_ones")
    new_empty, new_full, bernoulli, multinomial = operations("new_empty new_full bernoulli multinomial")

    # written into the tensor
    add_, sub_, mul_, div_, pow_, neg_ = all_in_place("add sub mul div pow neg")
    subtract_, multiply_, divide_, negative_, absolute_ = all_in_place("sub mul div neg abs")
    floor_divide_, remainder_, fmod_, reciprocal_ = all_in_place("floor_divide remainder fmod reciprocal")
    square_, abs_, sign_, floor_, ceil_, round_, trunc_ = all_in_place("square abs sign floor ceil round trunc")
    frac_, clamp_, clip_, clamp_min_, clamp_max_ = all_in_place("frac clamp clamp clamp_min clamp_max")
    lerp_, nan_to_num_, addcmul_, addcdiv_ = all_in_place("lerp nan_to_num addcmul addcdiv")
    exp_, exp2_, expm1_, log_, log1p_, log2_, log10_ = all_in_place("exp exp2 expm1 log log1p log2 log10")
    sqrt_, rsqrt_, xlogy_, logit_, erf_, erfc_ = all_in_place("sqrt rsqrt xlogy logit erf erfc")
    sin_, cos_, tan_, asin_, acos_, atan_, atan2_ = all_in_place("sin cos tan asin acos atan atan2")
    sinh_, cosh_, asinh_, acosh_, atanh_ = all_in_place("sinh cosh asinh acosh atanh")
    relu_, sigmoid_, tanh_, cumsum_, cumprod_ = all_in_place("relu sigmoid tanh cumsum cumprod")
    logical_and_, logical_or_, logical_xor_, logical_not_ = all_in_place(
        "logical_and logical_or logical_xor logical_not"
    )
    bitwise_and_, bitwise_or_, bitwise_xor_, bitwise_not_ = all_in_place(
        "bitwise_and bitwise_or bitwise_xor bitwise_not"
    )
    masked_fill_, masked_scatter_, scatter_, scatter_add_ = all_in_place(
        "masked_fill masked_scatter scatter scatter_add"
    )
    scatter_reduce_, index_put_, copysign_, erfinv_ = all_in_place("scatter_reduce index_put copysign erfinv")
    eq_, ne_, lt_, le_, gt_, ge_ = all_in_place("eq ne lt le gt ge")
    not_equal_, less_, less_equal_, greater_, greater_equal_ = all_in_place("ne lt le gt ge")
    arcsin_, arccos_, arctan_, arctan2_, arcsinh_, arccosh_, arctanh_ = all_in_place(
        "asin acos atan atan2 asinh acosh atanh"
    )
    hypot_, sinc_, deg2rad_, rad2deg_, sgn_, true_divide_ = all_in_place("hypot sinc deg2rad rad2deg sign div")
    index_add_, index_copy_, index_fill_, tril_, triu_ = all_in_place("index_add index_copy index_fill tril triu")
    addmm_, baddbmm_, addmv_, addr_ = all_in_place("addmm baddbmm addmv addr")
    bitwise_left_shift_, bitwise_right_shift_ = all_in_place("bitwise_left_shift bitwise_right_shift")
    heaviside_, fix_ = all_in_place("heaviside trunc")
    ldexp_, gcd_, lcm_, renorm_, addbmm_ = all_in_place("ldexp gcd lcm renorm addbmm")

    def view_as(self, other: Any) -> Any:
        """Reshaped to the shape of `other`."""
        return OPERATIONS["reshape"](self, other.shape)

    def reshape_as(self, other: Any) -> Any:
        """Reshaped to the shape of `other`."""
        return OPERATIONS["reshape"](self, other.shape)

    def expand_as(self, other: Any) -> Any:
        """Broadcast to the shape of `other`."""
        return OPERATIONS["expand"](self, *other.shape)
