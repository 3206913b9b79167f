"""ONNX files: checked by onnx, run by onnxruntime with the model's outputs, for batches of any size."""

import json
import sys

import numpy as np
import pytest

from minires import models, nn, ops
from minires import onnx as exporter
from minires.data import preset_eval
from minires.errors import MiniresError
from minires.nn import functional as F
from minires.tensor import Tensor
from tests.nn.test_fuse import pictures, with_history

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def exported(model, path, side=16, channels=3, tolerance=1e-5, batches=(1, 4), sizes=(), **settings):
    """Export, check, and compare for several batches and sizes; returns the file's content."""
    model.eval()
    exporter.export(model, path, (1, channels, side, side), **settings)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    for batch in batches:
        assert exporter.compare(model, path, pictures(batch, side, channels=channels)) <= tolerance
    for batch, height, width in sizes:
        images = pictures(batch, max(height, width), channels=channels)[:, :, :height, :width]
        assert exporter.compare(model, path, images) <= tolerance, (height, width)
    return proto


SMALL = [
    ("resnet", {"block": "BasicBlock", "layers": [1, 1, 1, 1]}, 40),
    ("resnet", {"block": "Bottleneck", "layers": [1, 1, 1, 1], "groups": 4, "width_per_group": 16}, 40),
    ("resnet", {"block": "Bottleneck", "layers": [1] * 4, "replace_stride_with_dilation": [False, True, True]}, 40),
    ("resnet_d", {"block": "Bottleneck", "layers": [1, 1, 1, 1]}, 45),  # odd: windows of ceil_mode overhang
    ("se_resnet", {"block": "SEBasicBlock", "layers": [1, 1, 1, 1]}, 40),
    ("resnetv2", {"block": "PreActBottleneck", "layers": [1, 1, 1, 1]}, 40),
    ("resnetv2_bit", {"block": "PreActBottleneck", "layers": [1, 1, 1, 1], "norm": "group_ws"}, 40),
    ("cifar_resnet", {"depth": 8}, 16),
    ("cifar_resnet", {"depth": 8, "shortcut": "B", "norm": "group"}, 16),
    ("cifar_resnet", {"depth": 8, "shortcut": None, "head": [["Linear", 64, 8], ["BatchNorm1d", 8], ["Dropout", 0.5],
                      ["Sigmoid"], ["Linear", 8, 5]]}, 16),
    ("preact_resnet", {"depth": 8, "in_channels": 1}, 16),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "side"), SMALL)
def test_every_family(name, options, side, tmp_path):
    model = with_history(models.create(name, num_classes=5, **options))
    channels = options.get("in_channels", 3)
    proto = exported(model, tmp_path / "m.onnx", side, channels, tolerance=1e-5)
    assert proto.graph.name == name
    assert {node.op_type for node in proto.graph.node}.isdisjoint({"Identity", "Dropout"})


DEEP = ("101", "110", "152", "164")  # the same parts, more often


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in models.list_models() if not any(depth in name for depth in DEEP)])
def test_models_by_name(name, tmp_path):
    model = with_history(models.create(name, num_classes=5))
    tolerance = 1e-4 if "_bit" in name else 1e-5  # with float64 as the measure, both are off by about 2e-5
    exported(model, tmp_path / "m.onnx", 80, tolerance=tolerance, batches=(2,))


def small(**options):
    return with_history(models.create("cifar_resnet", depth=8, num_classes=5, **options))


def test_names_shapes_and_metadata(tmp_path):
    model, names, preprocessing = small(), ["a", "b", "ç", "d", "e"], preset_eval(18, 16)
    proto = exported(model, tmp_path / "m.onnx", class_names=names, preprocessing=preprocessing)
    (given,), (result,) = proto.graph.input, proto.graph.output
    assert (given.name, result.name) == ("input", "logits")
    assert shapes(proto) == [["batch", 3, 16, 16], ["batch", 5]]
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert set(metadata) == {"minires_version", "class_names", "preprocessing"}
    assert json.loads(metadata["class_names"]) == names
    assert json.loads(metadata["preprocessing"]) == preprocessing.to_config()
    assert proto.producer_name == "minires" and proto.opset_import[0].version == exporter.default_opset()
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    state = {name: tensor for name, tensor in model.state_dict().items() if "num_batches" not in name}
    assert set(state) <= set(arrays) and all(np.array_equal(arrays[name], state[name].array) for name in state)
    assert all(array.dtype in (np.float32, np.int64) for array in arrays.values())
    assert {name for node in proto.graph.node for name in node.input} >= set(arrays)


def test_one_batch_size_only_where_asked_for(tmp_path):
    model = small().eval()
    exporter.export(model, tmp_path / "m.onnx", (3, 3, 16, 16), dynamic_batch=False, input_name="x", output_name="y")
    assert exporter.compare(model, tmp_path / "m.onnx", pictures(3, 16)) <= 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert (session.get_inputs()[0].name, session.get_inputs()[0].shape) == ("x", [3, 3, 16, 16])
    with pytest.raises(Exception, match="Got: 1 Expected: 3"):
        session.run(None, {"x": np.zeros((1, 3, 16, 16), np.float32)})


def shapes(proto):
    return [[axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in (proto.graph.input[0], proto.graph.output[0])]  # fmt: skip


@pytest.mark.parametrize("opset", range(exporter.OLDEST, min(exporter.NEWEST, onnx.defs.onnx_opset_version()) + 1))
def test_opsets(opset, tmp_path):
    """Every operator of the table, in each version of ONNX's set of operators that can be asked for."""
    proto = exported(small(norm="group"), tmp_path / "m.onnx", opset_version=opset)
    assert proto.opset_import[0].version == opset
    for function in FUNCTIONS.values():
        exported(Applied(function), tmp_path / "f.onnx", side=6, tolerance=5e-6, batches=(2,), opset_version=opset)


def test_the_usual_opset_is_the_newest_that_is_known(tmp_path, monkeypatch):
    assert exported(small(), tmp_path / "m.onnx").opset_import[0].version == exporter.default_opset()
    monkeypatch.setattr(onnx.defs, "onnx_opset_version", lambda: 21)
    assert exported(small(), tmp_path / "m.onnx").ir_version == 10
    assert exporter.default_opset() == 21
    monkeypatch.setattr(onnx.defs, "onnx_opset_version", lambda: exporter.NEWEST + 5)
    assert exporter.default_opset() == exporter.NEWEST


@pytest.mark.parametrize(("name", "options", "side"), SMALL)
def test_every_family_takes_pictures_of_any_size(name, options, side, tmp_path):
    model = with_history(models.create(name, num_classes=5, **options))
    channels = options.get("in_channels", 3)
    sizes = [(1, side + 1, side + 2), (3, 2 * side, side), (2, side - 5, side + 15), (1, side + 7, 2 * side + 3)]
    proto = exported(model, tmp_path / "m.onnx", side, channels, sizes=sizes, dynamic_size=True)
    assert shapes(proto) == [["batch", channels, "height", "width"], ["batch", 5]]


def test_a_fixed_batch_of_pictures_of_any_size(tmp_path):
    proto = exported(small(), tmp_path / "m.onnx", batches=(1,), sizes=[(1, 9, 30)], dynamic_size=True,
                     dynamic_batch=False)  # fmt: skip
    assert shapes(proto) == [[1, 3, "height", "width"], [1, 5]]


def test_outputs_whose_size_follows_the_pictures(tmp_path):
    proto = exported(Applied(lambda x, w: ops.max_pool2d(x * w, 2)), tmp_path / "m.onnx", side=8, dynamic_size=True,
                     sizes=[(1, 9, 30), (3, 4, 7)])  # fmt: skip
    assert shapes(proto)[1] == ["batch", 3, "output_2", "output_3"]


def test_of_several_outputs_the_one_called_out(tmp_path):
    model = models.fcn("resnet20", 3, aux_loss=True).eval()
    exporter.export(model, tmp_path / "m.onnx", (1, 3, 16, 20))
    images = Tensor(np.random.default_rng(0).standard_normal((2, 3, 16, 20)).astype(np.float32))
    assert exporter.compare(model, tmp_path / "m.onnx", images) < 1e-5


def test_equal_models_give_equal_files_and_the_model_stays(tmp_path):
    model = small().train()
    model.layer1.eval()
    modes = [module.training for module in model.modules()]
    for name in "ab":
        exporter.export(model, tmp_path / name, (1, 3, 16, 16))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert [module.training for module in model.modules()] == modes
    assert not any(module.has_hooks for module in model.modules())


def test_a_float64_model_is_written_as_float32(tmp_path):
    model = small()
    exporter.export(model.double(), tmp_path / "m.onnx", (1, 3, 16, 16))
    assert exporter.compare(model.float(), tmp_path / "m.onnx", pictures(2, 16)) <= 1e-5


def test_a_folded_model_is_written_folded(tmp_path):
    model = small()
    exporter.export(model.fuse(), tmp_path / "m.onnx", (1, 3, 16, 16))
    assert exporter.compare(model, tmp_path / "m.onnx", pictures(2, 16)) <= 1e-5
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}


class Applied(nn.Module):
    """One function as a model."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(np.random.default_rng(5).uniform(0.5, 1.5, (3, 1, 1)).astype(np.float32))

    def forward(self, x):
        return self.function(x, self.weight)


FUNCTIONS = {
    "arithmetic": lambda x, w: (x + 1) * w - x / w + 2 / (x * x + 1) - 3 * x,
    "powers": lambda x, w: (x * x + 1) ** 0.5 + ops.sqrt(x * x) + ops.exp(-x) + ops.log(ops.abs(x) + w) + w**2,
    "extremes": lambda x, w: ops.maximum(x, w) + ops.minimum(x, x * w) + ops.clamp(x, -0.5) + ops.clamp(x, 0.1, 0.7),
    "activations": lambda x, w: ops.relu(x) + ops.sigmoid(x) + ops.tanh(x * w),
    "softmax": lambda x, w: ops.softmax(x, 1) + ops.log_softmax(x, -1),
    "sums": lambda x, w: ops.sum(x, (2, 3)) + ops.mean(x, -1).sum(-1) + ops.amax(x, (2, 3)) - ops.amin(x, (-1, -2)),
    "sums kept": lambda x, w: x - ops.mean(x, (1, 2, 3), keepdim=True) + ops.logsumexp(x, 1, keepdim=True),
    "matrices": lambda x, w: x @ x.transpose(2, 3) @ x,
    "linear on rows": lambda x, w: ops.linear(x, Tensor.reshape(w, 3, 1).expand(3, 6).reshape(6, 3).t()),
    "reshape": lambda x, w: x.reshape(x.shape[0], 6, -1).permute(0, 2, 1).reshape(-1, 3),
    "squeeze": lambda x, w: (x * w)[:, :1].squeeze(1).unsqueeze(-1),
    "expand": lambda x, w: x[:, :1].expand(-1, 4, -1, -1) * 2,
    "flip and cat": lambda x, w: ops.cat([x.flip(2, 3), x * w, x], 1),
    "pad": lambda x, w: ops.pad(x, (1, 0, 2, -1), value=0.5),
    "slices": lambda x, w: ops.cat([x[:, :, 1::2, :-1], x[:, :, -3:, 1:]], 2),
    "numbers": lambda x, w: x[:, 1, None, :, -2] + x[..., 2],
    "clone": lambda x, w: x.permute(0, 2, 3, 1).contiguous().clone().permute(0, 3, 1, 2),
    "group norm": lambda x, w: ops.group_norm(x, 3, w.reshape(3), w.reshape(3), 1e-3) + ops.group_norm(x, 1),
    "constants": lambda x, w: x * (ops.exp(w) + ops.sum(w)),
    "max pooling": lambda x, w: ops.max_pool2d(x, 3, 1, 1) + ops.max_pool2d(x, 2, 1, 1, dilation=2),
    "average pooling": lambda x, w: ops.avg_pool2d(x, 2) + ops.avg_pool2d(x, 2, divisor_override=3),
    "padded average": lambda x, w: ops.avg_pool2d(x, 3, 2, 1) + ops.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "overhanging average": lambda x, w: ops.avg_pool2d(x, 4, 3, 1, ceil_mode=True) + ops.avg_pool2d(
        x, 4, 3, 1, ceil_mode=True, count_include_pad=False),
    "adaptive pooling": lambda x, w: ops.adaptive_avg_pool2d(x, (4, 5)) + ops.adaptive_avg_pool2d(x, (1, 1)),
    "convolutions": lambda x, w: ops.conv2d(x, w.reshape(3, 1, 1, 1), w.reshape(3), groups=3, padding="same")
    + ops.conv2d_act(x, ops.cat([w.reshape(1, 3, 1, 1)] * 3), w.reshape(3), residual=x * 2),
    "lengths": lambda x, w: x / ops.norm(x, 2, 1, keepdim=True) + ops.norm(x, dim=(2, 3), keepdim=True),
    "resizing": lambda x, w: ops.cat([F.interpolate(x, (9, 5), mode="bilinear"), F.interpolate(x, (9, 5)),
                                      F.interpolate(x, (9, 5), mode="bicubic", align_corners=True)], 1),
    "norm with a residual": lambda x, w: ops.batch_norm_act(x, w.reshape(3), w.reshape(3), None, None, residual=x),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, tmp_path):
    """Each way to call an operation that a model may use, beside onnxruntime."""
    exported(Applied(FUNCTIONS[name]), tmp_path / "m.onnx", side=6, tolerance=5e-6)


@pytest.mark.parametrize("size", [5, 6, 7, 8])
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_pooling_geometry(size, kernel, stride, tmp_path):
    for padding in range(kernel // 2 + 1):
        for ceil in (False, True):
            geometry = (kernel, stride, padding)

            def pooled(x, w, geometry=geometry, ceil=ceil):
                kinds = [ops.max_pool2d(x, *geometry, ceil_mode=ceil)]
                kinds += [ops.avg_pool2d(x, *geometry, ceil, count) for count in (True, False)]
                return ops.cat(kinds, 1)

            exported(Applied(pooled), tmp_path / "m.onnx", side=size, batches=(2,))


def test_a_model_that_hands_its_input_on(tmp_path):
    proto = exported(nn.Identity(), tmp_path / "m.onnx", side=4, tolerance=0)
    assert [node.op_type for node in proto.graph.node] == ["Identity"]


def test_unused_work_is_not_written(tmp_path):
    def function(x, w):
        ops.cumsum(x, 1)  # has no counterpart, and does not matter
        return x * 2

    proto = exported(Applied(function), tmp_path / "m.onnx", side=4)
    assert [node.op_type for node in proto.graph.node] == ["Mul"]
    assert len(proto.graph.initializer) == 1


class Inner(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.part = Applied(function)

    def forward(self, x):
        return self.part(x)


REFUSED = {
    "CumulativeSum in module 'part' has no counterpart": lambda x, w: ops.cumsum(x, 1),
    "Convert in module 'part'": lambda x, w: (x.long() + 1) * 1.0,
    "GetItem in module 'part' .*index that holds an array": lambda x, w: x[:, [0, 2]],
    "Convert in module 'part' uses a tensor that no recorded operation made": lambda x, w: x * (x > 0),
    "Add in module 'part' uses a tensor": lambda x, w: x + Tensor(np.ones(1, np.float32)),
    "Where in module 'part' uses": lambda x, w: ops.where(x > 0, x, w),
    "the output comes from no recorded": lambda x, w: x.argmax(1),
    "Mul in module 'part' depends on the size of the batch": lambda x, w: x * x.shape[0],
    "GetItem in module 'part' depends on": lambda x, w: x[: x.shape[0] - 1],
    "what the model does depends on": lambda x, w: x if len(x) == 2 else x * 2,
    "repeated as often as there are pictures": lambda x, w: w.expand(len(x), 3, 1, 1) * x,
    "must give one Tensor, not tuple": lambda x, w: (x, x),
    "must give one Tensor, not dict": lambda x, w: {"some": x},
    "BatchNormTraining in module 'part'": lambda x, w: ops.batch_norm(x, None, None, training=True),
}  # fmt: skip


FIXED = {  # functions that need pictures of one size, and why
    "adaptive pooling": "an adaptive pooling to (4, 5)", "overhanging average": "count_include_pad=True",
    "reshape": "Reshape in module 'part' depends on the size of the pictures",
    "squeeze": "Reshape in module 'part' depends on the size of the pictures",
    "linear on rows": "takes no pictures of 39 x 72",
    "resizing": "Resample in module 'part' depends on the size of the pictures",
}  # fmt: skip


@pytest.mark.parametrize("name", FIXED)
def test_what_needs_pictures_of_one_size_is_named(name, tmp_path):
    with pytest.raises(MiniresError, match="ONNX export: ") as failure:
        exporter.export(Inner(FUNCTIONS[name]), tmp_path / "m.onnx", (1, 3, 6, 6), dynamic_size=True)
    assert FIXED[name] in str(failure.value) and not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in FIXED])
def test_functions_on_pictures_of_any_size(name, tmp_path):
    exported(Applied(FUNCTIONS[name]), tmp_path / "m.onnx", side=6, tolerance=5e-6, batches=(2,), dynamic_size=True,
             sizes=[(1, 7, 7), (3, 12, 12)])  # fmt: skip


@pytest.mark.parametrize("geometry", [(2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 3, 0), (2, 1, 1), (5, 2, 2)])
def test_pooling_of_any_size_that_rounds_up(geometry, tmp_path):
    def pooled(x, w):
        kinds = [ops.max_pool2d(x, *geometry, ceil_mode=True)]
        kinds += [ops.avg_pool2d(x, *geometry, True, False), ops.avg_pool2d(x, *geometry, True, divisor_override=3)]
        return ops.cat(kinds, 1)

    sizes = [(1, height, width) for height, width in ((5, 6), (7, 8), (9, 10), (11, 12), (13, 6))]
    exported(Applied(pooled), tmp_path / "m.onnx", side=8, batches=(2,), sizes=sizes, dynamic_size=True)


def test_a_last_window_that_counts_for_some_sizes_only_is_refused(tmp_path):
    def pooled(x, w):
        return ops.max_pool2d(x, 2, 2, 1, ceil_mode=True)

    with pytest.raises(MiniresError, match="whether the last one counts depends on the size"):
        exporter.export(Applied(pooled), tmp_path / "m.onnx", (1, 3, 6, 6), dynamic_size=True)


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_exported_is_named(reason, tmp_path):
    with pytest.raises(MiniresError) as failure:
        exporter.export(Inner(REFUSED[reason]), tmp_path / "m.onnx", (1, 3, 6, 6))
    text = " ".join([str(failure.value), *getattr(failure.value, "__notes__", [])])
    reason, _, rest = reason.partition(" .*")
    assert rest in text and reason in text and failure.value.code.startswith("onnx.")
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 3, 16, 0), (1, 3, 16.0, 16), (0, 3, 16, 16)])
def test_wrong_input_shapes(shape, tmp_path):
    with pytest.raises(ValueError, match="input_shape must be"):
        exporter.export(small(), tmp_path / "m.onnx", shape)


def test_wrong_arguments(tmp_path):
    model = small()
    with pytest.raises(ValueError, match="2 class names for 5 outputs"):
        exporter.export(model, tmp_path / "m.onnx", (1, 3, 16, 16), class_names=["a", "b"])
    with pytest.raises(ValueError, match="opset_version must be from 18 to"):
        exporter.export(model, tmp_path / "m.onnx", (1, 3, 16, 16), opset_version=9)
    with pytest.raises(RuntimeError, match="channels"):
        exporter.export(model, tmp_path / "m.onnx", (1, 4, 16, 16))


def test_without_onnx_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MiniresError, match="needs the package onnx") as failure:
        exporter.export(small(), tmp_path / "m.onnx", (1, 3, 16, 16))
    assert failure.value.code == "onnx.missing" and failure.value.hint == "pip install 'minires[onnx]'"


def test_the_table_is_of_functions():
    from minires.autograd import Function
    from minires.onnx.operations import TABLE

    assert all(issubclass(function, Function) for function in TABLE) and len(TABLE) > 30


def test_compare_sees_a_difference(tmp_path):
    model = small().eval()
    exporter.export(model, tmp_path / "m.onnx", (1, 3, 16, 16))
    model.fc.weight.data.array[...] *= 1.01
    assert exporter.compare(model, tmp_path / "m.onnx", pictures(2, 16)) > 1e-3


def test_compare_names_a_file_that_onnxruntime_does_not_read(tmp_path):
    exporter.export(small(), tmp_path / "m.onnx", (1, 3, 16, 16))
    proto = onnx.load(tmp_path / "m.onnx")
    proto.opset_import[0].version = 999
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(MiniresError, match=r"onnxruntime .* does not read .*m\.onnx: .*999") as failure:
        exporter.compare(small(), tmp_path / "m.onnx", pictures(1, 16))
    assert failure.value.code == "onnx.not_read" and "--opset" in failure.value.hint
