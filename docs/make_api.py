"""Writes docs/api.md: every operation, from the table of operations, with what was found by trying each one.

    python docs/make_api.py

A test compares the page with what this script would write, so that the page is always current.
"""

import inspect
import pathlib
import re
from typing import Any

import numpy as np

import minires as mr
from minires import ops
from minires.nn import functional
from minires.ops.entry import Entry
from minires.ops.table import PLAIN, TABLE
from minires.random import philox
from minires.tensor import OPERATIONS, Tensor

PAGE = pathlib.Path(__file__).parent / "api.md"
TYPES = {"float16": "f16", "float32": "f32", "float64": "f64", "int64": "int", "bool": "bool"}
INTERNAL = {"convert", "copy_values", "set_items", "getitem", "where_method", "divide_whole", "windows"}

COLUMNS = ("| operation | where | gradient | types | |", "| --- | --- | --- | --- | --- |")

HEAD = """# What minires computes

Written by `python docs/make_api.py` from the table of operations (`minires/ops/table.py`); do not edit. Names,
arguments and meaning are PyTorch's. Each entry of the table is checked against finite differences (`minires gradcheck`
does that on your machine) and, in the project's tests, against torch.

- **Where**: `mr` is minires, `F` is `mr.nn.functional`, `x.` is a method of Tensor, `x._` the one in place.
- **Gradient**: yes; *zero* where the function is flat (as in PyTorch); no, where there is none.
- **Types**: with which elements a call succeeds: real numbers (f16, f32, f64), integers, booleans. Only real numbers
  have gradients.
- First derivatives only: `create_graph=True` raises NotImplementedError.
- What a program for torch may ask for and does not get stands at the end: [what is not here](#what-is-not-here).
"""

TAIL = """## Porting a model file

Replace the word `torch` by `minires`, throughout; the weights are read as they are:

```sh
sed 's/\\btorch\\b/minires/g' their_model.py > model.py
python -c 'import minires, model; model.build().load_state_dict(minires.load("weights.pth"))'
```

The tests do that with files in torchvision's manner (MobileNet, DenseNet with activation checkpoints, GoogLeNet with
auxiliary outputs, ShuffleNet, EfficientNet, ConvNeXt, VGG, SqueezeNet, U-Net, a feature pyramid, a vision transformer,
Swin in both versions, DeepLab on MobileNet's blocks, a one-stage detector with its anchors, matching and losses, a
network for videos): outputs and all gradients equal torch's. What such files mention on the side is here too: the
marks of `torch.jit` and `torch.fx.wrap` (which do nothing), `torch.utils.checkpoint` and `data`,
`torch.hub.load_state_dict_from_url`, classes that change old keys in `_load_from_state_dict`,
`torch.nn.modules.batchnorm._BatchNorm`,
`memory_format=torch.channels_last`, `torch.set_default_dtype`, `torch._assert`. `minires.onnx.export` writes most of
them.

## What is not here

Left out on purpose; asking for it raises, or the name does not exist.

- Second derivatives (`create_graph`, `autograd.functional.hessian`), forward-mode derivatives, `vmap`, `torch.func`.
- Complex numbers, sparse and quantised tensors, named axes, `fft`, `torch.distributions`.
- A graph compiler: `jit.script`, `jit.trace`, `compile`, `fx` other than the mark `wrap`. `mr.compile_inference` makes
  a model for predicting faster.
- Recurrent layers, decoders of transformers, lazy layers, `CTCLoss`. Volumes are there, made of pictures, and slow.
- `nn.DataParallel`, `torch.distributed` and `SyncBatchNorm`.
- Eigenvalues, singular vectors, least squares, LU; gamma and Bessel functions.
- `out=` arguments.

Different on purpose:

- A dtype is NumPy's (`mr.float32 is numpy.dtype("float32")`), a device a small class; a shape is a tuple with a method
  `numel`, and looks like one.
- `mr.Tensor(data)` wraps data; `torch.Tensor(2, 3)`, memory without values, is `mr.empty(2, 3)`.
- `inplace=True` of activations and dropout is accepted, and the input is left alone.
- `Tensor.view` copies where memory does not allow a view. Random numbers follow PyTorch's laws, not its sequence.
- Of equal elements `sort`, `topk`, `kthvalue` and `median` take the first; in PyTorch that is left open.
- Some operations take integers, booleans or float16 where PyTorch says "not implemented"; the columns of types say so.
- A quotient rounded down by `//` is not recorded, and comparisons have no gradient; PyTorch records the former, and
  raises in backward. The state of a generator (`get_rng_state`) is two integers, not thousands of bytes.
- `autocast` is for GPUs. `cholesky` reads both halves of its matrix.
"""


OF_THE_PROCESS = (
    "are_deterministic_algorithms_enabled", "get_default_dtype", "get_num_threads", "get_rng_state", "initial_seed",
    "load", "manual_seed", "save", "seed", "set_default_dtype", "set_num_threads", "set_rng_state",
    "use_deterministic_algorithms",
)  # fmt: skip


def signature(function: Any) -> str:
    """(input, dim=None): the arguments without their annotations."""
    try:
        found = inspect.signature(function)
    except ValueError:
        return "(...)"
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found.parameters.values()]
    text = str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty)).replace("|", "\\|")
    return re.sub(r"<(?:function|class) '?([\w.]+)[^>]*>", r"\1", text)


def summary(thing: Any) -> str:
    """The first sentence of the docstring."""
    lines = (inspect.getdoc(thing) or "").split("\n\n")[0].split("\n")
    return " ".join(line.strip() for line in lines).replace("|", "\\|")


def works(entry: Entry, dtype: np.dtype) -> bool:
    """Whether the operation takes elements of this type, on numbers that suit it.

    All arrays of real numbers are converted; in an operation of integers or booleans, which has none, the first array.
    """
    drawn = entry.draw(philox(0, entry.label))
    kinds: list[str] = []
    entry.fill(drawn, lambda array, has_gradient: kinds.append(array.dtype.kind))
    made: list[Tensor] = []

    def make(array: np.ndarray, has_gradient: bool) -> Tensor:
        if array.dtype.kind == "f" and dtype.kind != "f":
            array = np.ceil(np.abs(np.nan_to_num(array, posinf=1, neginf=1)) + 0.1).astype(dtype)
        elif array.dtype.kind == "f" or ("f" not in kinds and not made):
            array = array.astype(dtype)
        made.append(Tensor(array))
        return made[-1]

    try:
        entry.call(*entry.fill(drawn, make))
    except (RuntimeError, TypeError, NotImplementedError, IndexError, ValueError):
        return False
    return True


def types_of(entries: list[Entry]) -> str:
    """The types with which one way of calling the operation succeeds."""
    return " ".join(short for name, short in TYPES.items() if any(works(entry, np.dtype(name)) for entry in entries))


def gradient_of(entries: list[Entry]) -> str:
    """yes, zero or no, by trying."""
    if entries[0] in PLAIN:
        return "no"
    for entry in entries:
        for seed in range(4):
            function, inputs = entry.case(seed)
            outcome = function(*inputs)
            for y in outcome if isinstance(outcome, tuple | list) else (outcome,):
                if isinstance(y, Tensor) and y.requires_grad and y.numel():
                    for gradient in mr.autograd.grad(y, inputs, mr.ones_like(y), allow_unused=True):
                        if gradient is not None and gradient.array.any():
                            return "yes"
    return "*zero*"


def places_of(name: str) -> str:
    """Where users find the operation."""
    found = []
    if getattr(mr, name, None) is OPERATIONS[name]:
        found.append("`mr`")
    if hasattr(functional, name):
        found.append("`F`")
    if hasattr(Tensor, name):
        found.append("`x.`")
    if hasattr(Tensor, f"{name}_"):
        found.append("`x._`")
    return " ".join(found)


def family_of(function: Any) -> str:
    return function.__module__.rsplit(".", 1)[-1]


def table_rows() -> dict[str, list[str]]:
    """For each file of minires/ops/ the rows of its operations."""
    by_name: dict[str, list[Entry]] = {}
    for entry in (*TABLE, *PLAIN):
        by_name.setdefault(entry.name, []).append(entry)
    rows: dict[str, list[str]] = {}
    for name, entries in sorted(by_name.items()):
        if name in INTERNAL:
            continue
        function = OPERATIONS[name]
        cells = (f"`{name}{signature(function)}`", places_of(name), gradient_of(entries), types_of(entries),
                 summary(function))  # fmt: skip
        rows.setdefault(family_of(function), []).append(f"| {' | '.join(cells)} |")
    return rows


def second_names() -> list[str]:
    """`clip` is `clamp`, and so on."""
    pairs = {
        name: value.__name__
        for name, value in vars(ops).items()
        if not name.startswith("_") and inspect.isfunction(value) and value.__name__ != name
    }
    return [f"`{name}` is `{other}`" for name, other in sorted(pairs.items())]


def listed(owner: Any, names: Any, prefix: str) -> list[str]:
    """One line for each function or method."""
    lines = []
    for name in sorted(names):
        value = getattr(owner, name)
        if isinstance(value, property):
            lines.append(f"- `{prefix}{name}`: {(value.__doc__ or '').strip()}")
        else:
            arguments = signature(value).replace("(self, ", "(").replace("(self)", "()")
            lines.append(f"- `{prefix}{name}{arguments}`: {summary(value)}")
    return lines


def own_methods() -> list[str]:
    """What Tensor has besides the operations of the table."""
    hidden = set(OPERATIONS) | set(dir(mr.autograd.Variable)) | {f"{name}_" for name in OPERATIONS}
    return [
        name
        for name in dir(Tensor)
        if not name.startswith("_") and name not in hidden
        and (inspect.getdoc(getattr(Tensor, name)) or "minires.ops.").find("minires.ops.") < 0
        and (inspect.isfunction(getattr(Tensor, name)) or isinstance(getattr(Tensor, name), property))
    ]  # fmt: skip


def page() -> str:
    """The whole text of docs/api.md."""
    parts = [HEAD]
    for family, rows in sorted(table_rows().items()):
        text = summary(inspect.getmodule(OPERATIONS[rows[0].split("`")[1].split("(")[0]]))
        parts.append("\n".join([f"## {family}", "", text, "", *COLUMNS, *rows, ""]))
    parts.append("## Second names\n\n" + ", ".join(second_names()) + ".\n")
    parts.append("## Making tensors\n\n" + "\n".join(listed(ops, ops.CREATION, "mr.")) + "\n")
    parts.append("## Tensor, besides the operations\n\n" + "\n".join(listed(Tensor, own_methods(), "x.")) + "\n")
    autograd = ("backward", "detect_anomaly", "grad", "set_detect_anomaly")
    parts.append("## Gradients\n\n" + "\n".join([
        *listed(mr.autograd, autograd, "mr.autograd."),
        *listed(mr.autograd.functional, ("jacobian", "vjp"), "mr.autograd.functional."),
        *listed(mr.utils.checkpoint, ("checkpoint", "checkpoint_sequential"), "mr.utils.checkpoint."),
        *listed(mr, ("enable_grad", "gradcheck", "inference_mode", "no_grad", "set_grad_enabled"), "mr."),
    ]) + "\n")  # fmt: skip
    for title, owner, prefix in (
        ("Layers and losses", mr.nn, "mr.nn."), ("nn.init", mr.nn.init, "mr.nn.init."),
        ("nn.utils", mr.nn.utils, "mr.nn.utils."),
        ("nn.utils.parametrize", mr.nn.utils.parametrize, "mr.nn.utils.parametrize."),
        ("nn.utils.parametrizations", mr.nn.utils.parametrizations, "mr.nn.utils.parametrizations."),
        ("optim", mr.optim, "mr.optim."),
        ("optim.lr_scheduler", mr.optim.lr_scheduler, "mr.optim.lr_scheduler."), ("linalg", mr.linalg, "mr.linalg."),
    ):  # fmt: skip
        parts.append(f"## {title}\n\n" + "\n".join(listed(owner, functions_of(owner), prefix)) + "\n")
    whole = [*listed(mr, OF_THE_PROCESS, "mr."), *listed(mr.hub, ["load_state_dict_from_url"], "mr.hub.")]
    parts.append("## For the whole process, and files\n\n" + "\n".join(whole) + "\n")
    in_place = ", ".join(f"`{name}`" for name in dir(mr) if name.endswith("_") and not name.startswith("_"))
    parts.append(f"Functions that write into their first argument, as the methods of these names do: {in_place}.\n")
    return "\n".join([*parts, TAIL, missing()])


MISSING = {
    "nn": "AdaptiveLogSoftmaxWithLoss CTCLoss Container CrossMapLRN2d DataParallel FractionalMaxPool2d "
          "FractionalMaxPool3d GRU GRUCell LPPool3d LSTM LSTMCell LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d "
          "LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d "
          "LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d LazyLinear LinearCrossEntropyLoss "
          "LinearCrossEntropyOptions MaxUnpool3d NLLLoss2d RNN RNNBase RNNCell RNNCellBase SyncBatchNorm Transformer "
          "TransformerDecoder TransformerDecoderLayer UninitializedBuffer UninitializedParameter",
    "nn.functional": "adaptive_max_pool3d_with_indices conv_tbc ctc_loss fractional_max_pool2d "
                     "fractional_max_pool2d_with_indices fractional_max_pool3d fractional_max_pool3d_with_indices "
                     "grouped_mm linear_cross_entropy lp_pool3d max_pool3d_with_indices max_unpool3d "
                     "multi_head_attention_forward native_channel_shuffle scaled_grouped_mm scaled_mm",
    "nn.init": "constant dirac eye kaiming_normal kaiming_uniform normal orthogonal sparse uniform xavier_normal "
               "xavier_uniform",
    "nn.utils": "clip_grad_norm convert_conv2d_weight_memory_format convert_conv3d_weight_memory_format skip_init",
    "nn.utils.parametrize": "transfer_parametrizations_and_params type_before_parametrizations",
    "nn.utils.parametrizations": "",
    "optim": "Adafactor Muon SparseAdam swap_in_optimizer_params_and_state",
    "optim.lr_scheduler": "",
    "linalg": "LinAlgError cholesky_ex cond eig eigh eigvals eigvalsh inv_ex ldl_factor "
              "ldl_factor_ex ldl_solve lstsq lu lu_factor lu_factor_ex lu_solve matrix_rank pinv solve_ex "
              "solve_triangular svd tensorinv tensorsolve vander",
    "autograd.functional": "hessian hvp jvp vhp",
    "Tensor": "adjoint angle apply_ as_strided as_strided_ as_strided_scatter as_subclass cauchy_ ccol_indices cdouble "
              "cfloat chalf cholesky_inverse cholesky_solve coalesce col_indices conj conj_physical conj_physical_ "
              "const_data_ptr crow_indices dense_dim dequantize digamma digamma_ dim_order dsplit eig float_power "
              "float_power_ frexp geometric_ geqrf hardshrink hash_tensor histogram i0 i0_ igamma igamma_ igammac "
              "igammac_ index index_reduce index_reduce_ indices int_repr ipu is_coalesced is_conj is_distributed "
              "is_neg is_set_to is_shared istft lgamma lgamma_ log_normal_ lstsq lu lu_solve map2_ map_ "
              "module_load mtia mvlgamma mvlgamma_ narrow_copy new new_empty_strided nextafter nextafter_ "
              "nonzero_static orgqr ormqr pinverse polygamma polygamma_ prelu put put_ q_per_channel_axis "
              "q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qscheme "
              "register_post_accumulate_grad_hook reinforce resize resize_ resize_as resize_as_ resize_as_sparse_ "
              "resolve_conj resolve_neg row_indices set_ share_memory_ slice_inverse smm solve sparse_dim sparse_mask "
              "sparse_resize_ sparse_resize_and_clear_ split_with_sizes sspaddmm stft storage storage_type sum_to_size "
              "svd symeig to_dense to_mkldnn to_padded_tensor to_sparse to_sparse_bsc to_sparse_bsr to_sparse_coo "
              "to_sparse_csc to_sparse_csr triangular_solve unsafe_chunk unsafe_split unsafe_split_with_sizes "
              "untyped_storage values xpu",
}  # fmt: skip

MISSING_HEAD = """## What torch has and minires has not

The whole list of public functions and classes, compared with torch 2.13 by a test, which also looks for what is here
and listed as missing. Helpers of torch's own machinery are left out.
"""


def missing() -> str:
    """What torch has in each of the modules that is not here."""
    lines = [
        f"- `torch.{owner}`: " + (", ".join(f"`{name}`" for name in names.split()) or "nothing is missing") + "."
        for owner, names in MISSING.items()
    ]
    return MISSING_HEAD + "\n" + "\n".join(lines) + "\n"


def functions_of(module: Any) -> list[str]:
    """The classes and functions that a module makes public."""
    names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    return [
        name for name in names
        if (inspect.isclass(value := getattr(module, name)) or inspect.isfunction(value))
        and value.__module__.startswith(module.__name__.partition(".lr_scheduler")[0].rpartition(".")[0])
    ]  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
