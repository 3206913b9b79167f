"""Products of vectors and matrices under their other names, and einsum, of which they are all special cases."""

from typing import Any

from minires.autograd import Function, Node
from minires.backend import Array, array_module, is_floating
from minires.ops.broadcast import common_shape
from minires.ops.diagonal import diagonal
from minires.ops.elementwise import add, mul
from minires.ops.linalg import matmul
from minires.ops.shape import expand, reshape
from minires.tensor import Tensor, register


class Einsum(Function):
    """y = the sum, over all letters missing in the result, of the products of the operands' elements.

    The gradient of one operand is an einsum as well: dy and the other operands, with the operand's letters as the
    result. A letter that no other one has was summed over alone, and its gradient is spread along it.
    """

    @staticmethod
    def forward(ctx: Node, *arrays: Array, inputs: tuple[str, ...], output: str) -> Array:
        ctx.inputs, ctx.output, ctx.shapes = inputs, output, [array.shape for array in arrays]
        ctx.save_for_backward(*arrays)
        return _einsum(arrays, inputs, output)

    @staticmethod
    def backward(ctx: Node, grad: Array) -> tuple[Array | None, ...]:
        arrays = ctx.saved_arrays
        found: list[Array | None] = []
        for place, (own, shape) in enumerate(zip(ctx.inputs, ctx.shapes, strict=True)):
            if not ctx.needs_input_grad[place]:
                found.append(None)
                continue
            others = [other for other in range(len(arrays)) if other != place]
            letters = (ctx.output, *(ctx.inputs[other] for other in others))
            known = "".join(letter for letter in own if any(letter in word for word in letters))
            dx = _einsum((grad, *(arrays[other] for other in others)), letters, known)
            missing = tuple(axis for axis, letter in enumerate(own) if letter not in known)
            xp = array_module(grad)
            found.append(xp.broadcast_to(xp.expand_dims(dx, missing), shape))
        return tuple(found)


def _einsum(arrays: tuple[Array, ...], inputs: tuple[str, ...], output: str) -> Array:
    xp = array_module(arrays[0])
    return xp.asarray(xp.einsum(f"{','.join(inputs)}->{output}", *arrays, optimize=len(arrays) > 1))


# ------------------------------------------------------------------------------------------- the functions users call


@register
def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products in Einstein's notation: `einsum("bij,bjk->bik", x, y)` multiplies matrices.

    A letter names an axis; letters that the result lacks are summed over. Without "->" the result has the letters that
    occur once, in alphabetical order. "..." stands for further axes, which are broadcast; a letter twice in one operand
    takes its diagonal. RuntimeError for an equation that does not fit the operands.
    """
    tensors = list(operands[0]) if len(operands) == 1 and not isinstance(operands[0], Tensor) else list(operands)
    words, output = _spelled_out(equation, [tensor.ndim for tensor in tensors])
    for place, word in enumerate(words):
        while len(set(word)) < len(word):
            letter = next(letter for letter in word if word.count(letter) > 1)
            first, second = word.index(letter), word.index(letter, word.index(letter) + 1)
            if tensors[place].shape[first] != tensors[place].shape[second]:
                raise RuntimeError(f"einsum(): {letter!r} is repeated for operand {place} but the lengths don't match")
            tensors[place] = diagonal(tensors[place], 0, first, second)
            word = word[:first] + word[first + 1 : second] + word[second + 1 :] + letter
        words[place] = word
    lengths: dict[str, int] = {}
    for word, tensor in zip(words, tensors, strict=True):
        for letter, length in zip(word, tensor.shape, strict=True):
            if 1 not in (length, lengths.get(letter, length)) and length != lengths.get(letter, length):
                raise RuntimeError(f"einsum(): the axis {letter!r} has the lengths {lengths[letter]} and {length}, "
                                   "which do not broadcast")  # fmt: skip
            lengths[letter] = length if lengths.get(letter, 1) == 1 else lengths[letter]
    wide = zip(words, tensors, strict=True)
    tensors = [expand(tensor, [lengths[letter] for letter in word]) for word, tensor in wide]
    if any(tensor.dtype != tensors[0].dtype for tensor in tensors):
        raise RuntimeError(f"einsum(): operands of different types: {[str(tensor.dtype) for tensor in tensors]}")
    return Einsum.apply(*tensors, inputs=tuple(words), output=output)


def _spelled_out(equation: str, axes: list[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, with letters in place of "..."."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    words = left.split(",")
    if len(words) != len(axes):
        raise RuntimeError(f"einsum(): the equation {equation!r} is for {len(words)} operands, got {len(axes)}")
    named = [word.replace("...", "", 1) for word in (*words, right)]
    if not all(word == "" or (word.isalpha() and word.isascii()) for word in named):
        raise RuntimeError(f"einsum(): the equation {equation!r} may hold letters, one '...' each, ',' and '->' only")
    further = [count - len(word) if "..." in full else 0 for count, word, full in zip(axes, named, words, strict=False)]
    for place, (count, word) in enumerate(zip(axes, named, strict=False)):
        if further[place] < 0 or (not further[place] and count != len(word)):
            raise RuntimeError(f"einsum(): {words[place]!r} does not name the {count} axes of operand {place}")
    free = [letter for letter in map(chr, (*range(65, 91), *range(97, 123))) if letter not in left + right]
    rest = "".join(free[: max(further, default=0)])
    words = [word.replace("...", rest[len(rest) - more :]) for word, more in zip(words, further, strict=True)]
    if not arrow:
        return words, rest + "".join(sorted(letter for letter in set(left) - set(".,") if left.count(letter) == 1))
    output = right.replace("...", rest)
    for letter in output:
        if output.count(letter) > 1 or not any(letter in word for word in words):
            raise RuntimeError(f"einsum(): the result names {letter!r} twice, or no operand has it")
    return words, output


@register
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices; nothing is broadcast."""
    return matmul(_with_axes(input, 2, "mm"), _with_axes(mat2, 2, "mm"))


@register
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two stacks of as many matrices: (b, n, m) and (b, m, p) give (b, n, p)."""
    _with_axes(input, 3, "bmm")
    if _with_axes(mat2, 3, "bmm").shape[0] != input.shape[0]:
        raise RuntimeError(f"bmm: expected batches of one size, got {input.shape[0]} and {mat2.shape[0]}")
    return matmul(input, mat2)


@register
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    return matmul(_with_axes(input, 2, "mv"), _with_axes(vec, 1, "mv"))


@register
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of the elements of two vectors."""
    return matmul(_with_axes(input, 1, "dot"), _with_axes(tensor, 1, "dot"))


@register
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The matrix of all products of an element of one vector and one of the other."""
    return mul(reshape(_with_axes(input, 1, "outer"), -1, 1), _with_axes(vec2, 1, "outer"))


def _with_axes(input: Tensor, count: int, name: str) -> Tensor:
    if input.ndim != count:
        raise RuntimeError(f"{name}: expected a tensor with {count} axes, got shape {input.shape}")
    return input


@register
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2); `input` is broadcast to the product."""
    return weighted_sum(input, mm(mat1, mat2), beta, alpha)


@register
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (the sum of all batch1[i] @ batch2[i])."""
    return weighted_sum(input, bmm(batch1, batch2).sum(0, dtype=batch1.dtype), beta, alpha)


@register
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2), stacks of matrices; `input` is broadcast to the product."""
    return weighted_sum(input, bmm(batch1, batch2), beta, alpha)


def weighted_sum(input: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    """beta input + alpha product, `input` being broadcast to the product; with beta 0 it may hold NaN."""
    if common_shape(input.shape, product.shape) != product.shape:
        raise RuntimeError(f"the shape {input.shape} cannot be broadcast to that of the product, {product.shape}")
    if not is_floating(product.dtype):  # among whole numbers the factors lose their fractions, as in PyTorch
        beta, alpha = int(beta), int(alpha)
    product = product if alpha == 1 else mul(product, alpha)
    return add(product, input if beta == 1 else mul(input, beta)) if beta != 0 else product


@register
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    real = is_floating(input.dtype) or is_floating(tensor1.dtype) or is_floating(tensor2.dtype)
    return add(input, mul(tensor1, tensor2), alpha=value if real else int(value))


@register
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 / tensor2. RuntimeError for whole numbers."""
    if not is_floating(tensor1.dtype) and not is_floating(tensor2.dtype):
        raise RuntimeError("addcdiv is not for whole numbers: use addcmul, or divide first")
    return add(input, tensor1 / tensor2, alpha=value)


@register
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Products summed over the last `dims` axes of a and the first of b; or over the pairs of axes in two lists."""
    if isinstance(dims, int):
        first, second = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        first, second = ([axis % tensor.ndim for axis in axes] for axes, tensor in zip(dims, (a, b), strict=True))
    if len(first) != len(second) or any(a.shape[i] != b.shape[j] for i, j in zip(first, second, strict=False)):
        raise RuntimeError(f"tensordot: contracted axes need to match, got dims={dims} for {a.shape} and {b.shape}")
    letters = [chr(97 + place) for place in range(a.ndim + b.ndim)]
    left, right = letters[: a.ndim], letters[a.ndim :]
    for i, j in zip(first, second, strict=True):
        right[j] = left[i]
    kept = [left[i] for i in range(a.ndim) if i not in first] + [right[j] for j in range(b.ndim) if j not in second]
    return einsum(f"{''.join(left)},{''.join(right)}->{''.join(kept)}", a, b)
