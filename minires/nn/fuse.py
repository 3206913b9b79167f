"""A model made ready for inference: batch norms folded into the convolutions before them.

At inference a batch norm multiplies each channel by one number and adds another; a convolution can do both itself:

    weight (conv(x) - mean) / sqrt(var + eps) + bias  =  (f W) x + (b - mean) f + bias,     f = weight / sqrt(var + eps)

Where a norm follows a convolution is not guessed from names: the model runs once on an example, and the operations that
it applied are looked at (trace.py). The folded convolution takes the place of the norm, and an Identity that of the
convolution: for where the norm stood, the model adds the residual and applies ReLU, which the convolution then does
while its result is still in the cache (`norm_act`, `ops.conv2d_act`).

The copy then makes a plan for each size of pictures that it is called with: what is computed in which order, in which
memory, by which thread (inference_graph.py, inference_plan.py, inference_run.py).

Looking at operations has a blind spot: a model may look at a convolution's result in ways that are none (`y > 0`,
argmax, NumPy). So the changed copy is run on the example, too, and must give the same as the model did.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minires import random
from minires.autograd import Variable, inference_mode
from minires.backend import Array, is_floating
from minires.nn import init
from minires.nn.conv import Conv2d, StdConv2d
from minires.nn.fused import FoldedConv2d
from minires.nn.inference_run import Runner
from minires.nn.linear import Identity
from minires.nn.module import Module
from minires.nn.norm import BatchNorm2d
from minires.nn.parameter import Parameter
from minires.nn.trace import Step, Trace, trace
from minires.ops.batch_normalisation import BatchNormInference
from minires.ops.window import Conv2d as Convolution
from minires.tensor import Tensor

SIDE = 96  # of the example that a model is tried on: large enough for every model of minires.models
DRAWS = (0, "compile_inference")  # the address of the example, and of what the model itself draws when it is tried
ROUNDING = 1e-2  # of the largest value: rounding stays far below, another result is far above


class InferenceModel(Module):
    """What `compile_inference` makes: `model` is the changed copy. In eval mode for good, and without gradients."""

    def __init__(self, model: Module, plan: bool = True) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.training = False
        self.runner = Runner() if plan else None

    def forward(self, *arguments: Any, **settings: Any) -> Any:
        with inference_mode():
            if self.runner is not None and len(arguments) == 1 and not settings and isinstance(arguments[0], Tensor):
                planned = self.runner(self.model, arguments[0].array)
                if planned is not None:
                    return arguments[0].make_result(planned)
            return self.model(*arguments, **settings)

    def plans(self) -> list[dict[str, Any]]:
        """For each size of pictures seen lately: bytes of its buffers and weights, or the reason why it has no plan."""
        return [] if self.runner is None else self.runner.report()

    def forward_features(self, x: Tensor) -> Tensor:
        """The model's own `forward_features`."""
        with inference_mode():
            return self.model.forward_features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The model's own `forward_head`."""
        with inference_mode():
            return self.model.forward_head(x, pre_logits)

    def train(self, mode: bool = True) -> "InferenceModel":
        """RuntimeError for True: there is nothing left to train."""
        if mode:
            raise RuntimeError("a model compiled for inference cannot be trained: train the one it was made from")
        return super().train(False)


def compile_inference(model: Module, example: Tensor | None = None, plan: bool = True) -> InferenceModel:
    """A copy of the model for inference: faster, equal but for rounding; the model itself stays as it is.

    Folded are batch norms with running statistics that follow a convolution directly, where neither of the two has
    hooks or is used twice; standardised weights (StdConv2d) are worked out once. All else stays.
    example: an input to find out on, (N, C, H, W); by default one picture of 96 x 96 random numbers. It decides nothing
    else: the copy takes pictures of any size that the model takes.
    plan: whether the first call with pictures of a new size plans all later ones: buffers that are kept, weights in the
    order in which they are read, every thread with its share of the pictures (see inference_run.py). The first call
    takes longer, memory stays in use (`plans()` says how much), one call runs at a time, and what the model keeps aside
    or prints happens in the first call only. A model whose forward looks at values (`item()`, `if y.sum() > 0`) is not
    planned; one that looks into `y.array` is not noticed, and needs plan=False.
    RuntimeError if the copy does not give the same on the example. What a model keeps aside (`self.seen = y`) is not
    compared: of a convolution that was folded it is the input.
    """
    if isinstance(model, InferenceModel):
        return model
    copied = copy.deepcopy(model).eval()
    for path, module in list(copied.named_modules()):
        if type(module) is StdConv2d and not module.has_hooks and _paths(copied, module) == [path]:
            _put(copied, path, _same_geometry(Conv2d, module, Parameter(module.standardised().detach()), module.bias))
    if any(type(module) is BatchNorm2d for module in copied.modules()):
        found = _tried(copied, example)
        for conv_path, norm_path in list(_find_pairs(copied, found)):
            conv = fuse_conv_bn_eval(copied.get_submodule(conv_path), copied.get_submodule(norm_path))
            _put(copied, norm_path, _same_geometry(FoldedConv2d, conv, conv.weight, conv.bias))
            _put(copied, conv_path, Identity())
        _check_same(copied, found)
    return InferenceModel(copied, plan)


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A new convolution that computes bn(conv(x)); as torch.nn.utils.fusion has it. Both must be in eval mode.

    transpose: whether it is a transposed one (without groups), whose weight has its output channels second.

    RuntimeError for a module in training mode (other than PyTorch's AssertionError), or a norm without statistics.
    """
    if conv.training or bn.training:
        raise RuntimeError("fuse_conv_bn_eval works on modules in eval mode only: call eval() first")
    if bn.running_mean is None or bn.running_var is None:
        raise RuntimeError("fuse_conv_bn_eval: the batch norm was made with track_running_stats=False")
    fused = copy.deepcopy(conv)
    statistics = bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    fused.weight, fused.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics, transpose)
    return fused


def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
    bn_w: Tensor | None, bn_b: Tensor | None, transpose: bool = False,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """(weight, bias) of the convolution with the norm folded in: worked out in float64, of conv_w's type."""
    axis = 1 if transpose else 0
    channels = conv_w.shape[axis]
    factor = _wide(bn_w, channels, 1) / np.sqrt(_wide(bn_rv, channels, 1) + bn_eps)
    bias = (_wide(conv_b, channels, 0) - _wide(bn_rm, channels, 0)) * factor + _wide(bn_b, channels, 0)
    ahead = factor.reshape(-1, *(1 for _ in conv_w.shape[axis + 1 :]))
    weight = conv_w.array.astype(np.float64) * ahead  # both keep the order in memory
    made = (weight.astype(conv_w.dtype), bias.astype(conv_w.dtype))
    return Parameter(made[0], conv_w.requires_grad), Parameter(made[1], conv_w.requires_grad)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A new Linear that computes bn(linear(x)), for a norm of as many features; see `fuse_conv_bn_eval`."""
    if linear.out_features != bn.num_features:
        raise AssertionError(f"To fuse, linear.out_features == bn.num_features, got {linear.out_features} and "
                             f"{bn.num_features}")  # fmt: skip
    return fuse_conv_bn_eval(linear, bn)


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """(weight, bias) of the Linear with the norm folded in."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def _wide(values: Tensor | None, channels: int, default: float) -> Array:
    return np.full(channels, float(default)) if values is None else values.array.astype(np.float64)


# -------------------------------------------------------------------------------------------- finding, and replacing


class _Pair(NamedTuple):
    conv: str
    norm: str


def _find_pairs(model: Module, found: Trace) -> Iterator[_Pair]:
    """Paths of the convolutions and of the norms that can be folded into them."""
    uses = Counter(id(value) for step in found.steps for value in step.arguments if isinstance(value, Variable))
    uses.update(id(tensor) for tensor in _tensors(found.output))
    makers = {id(step.results[0]): step for step in found.steps if step.function is Convolution}
    for step in found.steps:
        maker = makers.get(id(step.arguments[0]))
        if step.function is not BatchNormInference or maker is None or uses[id(maker.results[0])] > 1:
            continue
        if _stands_alone(model, maker, Conv2d, uses) and _stands_alone(model, step, BatchNorm2d, uses):
            yield _Pair(maker.module, step.module)


def _tried(model: Module, example: Tensor | None) -> Trace:
    given = _usual_example(model) if example is None else example
    try:
        with random.address(*DRAWS):
            return trace(model, given)
    except Exception as error:
        if example is None:
            error.add_note(f"the model was tried on noise of shape {given.shape}: give an `example` that it can take")
        raise


def _check_same(model: Module, found: Trace) -> None:
    """RuntimeError if the changed model gives anything else on the example than it gave before."""
    with inference_mode(), random.address(*DRAWS):
        outputs = _tensors(model(found.input))
    for before, after in zip(_tensors(found.output), outputs, strict=True):
        scale = np.abs(before.array).max(initial=0) * ROUNDING
        if not np.allclose(after.array, before.array, rtol=0, atol=scale, equal_nan=True):
            raise RuntimeError("compile_inference: with its norms folded the model gives something else, so it must "
                               "look at the result of a convolution other than by its batch norm")  # fmt: skip


def _tensors(output: Any) -> list[Tensor]:
    """All tensors in a model's output: one, or tuples, lists and dictionaries of them."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _stands_alone(model: Module, step: Step, kind: type[Module], uses: Counter[int]) -> bool:
    """Whether the step is the one use of a module of exactly this kind, under one name and without hooks."""
    module = model.get_submodule(step.module)
    if type(module) is not kind or module.has_hooks or _paths(model, module) != [step.module]:
        return False
    own = (module.weight,) if kind is Conv2d else (module.running_mean, module.running_var)
    return all(any(value is tensor for value in step.arguments) and uses[id(tensor)] == 1 for tensor in own)


def _paths(model: Module, module: Module) -> list[str]:
    return [path for path, other in model.named_modules(remove_duplicate=False) if other is module]


def _put(model: Module, path: str, module: Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module.eval())


def _usual_example(model: Module) -> Tensor:
    channels = next((module.in_channels for module in model.modules() if isinstance(module, Conv2d)), 3)
    dtype = next((parameter.dtype for parameter in model.parameters() if is_floating(parameter.dtype)), np.float32)
    noise = random.philox(*DRAWS).standard_normal((1, channels, SIDE, SIDE))
    return Tensor(noise.astype(dtype))


def _same_geometry(kind: type[Conv2d], conv: Conv2d, weight: Parameter, bias: Parameter | None) -> Conv2d:
    """A convolution of another class with conv's settings and this weight and bias."""
    with init.without_draws():
        made = kind(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
                    conv.groups, conv.bias is not None, conv.padding_mode)  # fmt: skip
    made.weight, made.bias = weight, bias
    return made
