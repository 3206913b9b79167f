"""LoRA and SSF: nothing changes at first, merging changes no bit, unmerging neither; deltas there and back."""

import json

import numpy as np
import pytest

import minires as mr
from minires import models, nn, optim
from minires.errors import FileFormatError, UsageError
from minires.finetune import replace_head, strategies
from minires.finetune.adapters import (
    Base,
    adapters_of,
    add_lora,
    add_parallel,
    add_ssf,
    apply_delta,
    lora,
    merge,
    parallel,
    parameter_report,
    remove,
    save_delta,
    ssf,
    unmerge,
)  # fmt: skip
from minires.finetune.adapters.delta import KEY, DeltaError, read_delta
from minires.gradcheck import gradcheck
from minires.io import safetensors
from minires.nn import functional as F
from tests.finetune.test_heads_and_freezing import batch, everything

KINDS = {"lora": lambda model: lora(model, rank=3, alpha=2.0), "ssf": ssf, "parallel": parallel}
SMALL = {**KINDS, "bitfit": strategies.bitfit, "bn": strategies.batch_norm_only, "head": strategies.head}
NORMS = ({}, {"norm": "group_ws"})


def make_model(seed=3, classes=4, **options):
    mr.manual_seed(seed)
    return models.create("cifar_resnet", depth=8, num_classes=classes, **options)


def outputs(model):
    return model.eval()(batch()[0]).detach().numpy()


def trained(make, model, steps=3):
    strategy = make(model)
    optimizer = optim.AdamW(strategy.all_parameters(), lr=0.05)
    images, targets = batch()
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(images), targets).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize(("kind", "options"), [(kind, options) for kind in KINDS for options in NORMS
                                               if kind != "parallel" or not options])  # fmt: skip
def test_merged_unmerged_and_removed_give_the_same_bits(kind, options):
    model = make_model(**options)
    first, before = outputs(model), everything(model)
    KINDS[kind](model)
    assert np.array_equal(outputs(model), first), "an adapter starts as nothing"
    model = trained(KINDS[kind], make_model(**options))
    learnt = outputs(model)
    assert abs(learnt - first).max() > 0.1
    adapted = everything(model)
    assert {name for name in before if not name.startswith("fc") and "running" not in name and "num_" not in name
            and adapted[name] != before[name]} == set()  # fmt: skip
    for _ in range(2):  # twice is as good as once
        merge(model)
        assert np.array_equal(outputs(model), learnt)
    assert everything(model) != adapted
    unmerge(model)
    assert everything(model) == adapted and np.array_equal(outputs(model), learnt)
    remove(model)
    assert np.array_equal(outputs(model), learnt) and not adapters_of(model)
    plain = make_model(seed=8, **options)
    plain.load_state_dict(model.state_dict())
    assert np.array_equal(outputs(plain), learnt)
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]


def test_ready_for_inference_with_adapters():
    model = trained(KINDS["lora"], make_model()).eval()
    assert np.allclose(model.fuse()(batch()[0]).numpy(), outputs(model), atol=1e-4)


@pytest.mark.parametrize("layer", [
    nn.Linear(5, 3), nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, (1, 3), groups=2, bias=False),
], ids=repr)  # fmt: skip
def test_a_layer_with_an_adapter_against_the_formula(layer):
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.fc = layer, nn.Linear(1, 1)

        def stages(self):
            return {"layer1": [self.layer], "head": [self.fc]}

    model = Whole().double()
    (adapted,) = add_lora(model, rank=2, alpha=3.0)
    a, b = adapted.lora_A, adapted.lora_B
    rng = np.random.default_rng(1)
    b.array[...] = rng.standard_normal(b.shape)
    own = adapted._parameters["weight"].detach().numpy()
    change = 1.5 * b.detach().numpy() @ a.detach().numpy()
    if own.ndim == 4:
        out, channels, height, width = own.shape
        change = change.reshape(out, height, width, channels).transpose(0, 3, 1, 2)
    assert np.allclose(adapted.weight.detach().numpy(), own + change, atol=1e-12)
    x = mr.tensor(rng.standard_normal((2, 5) if own.ndim == 2 else (2, 4, 5, 5)))
    assert gradcheck(lambda a, b: adapted(x), (a, b))
    assert "lora_rank=2" in repr(adapted)


def test_what_cannot_be_adapted():
    model = make_model()
    add_ssf(model)
    for add in (add_lora, add_ssf, Base.of):
        with pytest.raises(UsageError, match="adapters already"):
            add(model)
    with pytest.raises(UsageError, match="at least 1"):
        add_lora(make_model(), rank=0)
    with pytest.raises(UsageError, match="no Linear or Conv2d"):
        add_lora(make_model(), stages=["tail"])
    with pytest.raises(UsageError, match="no norm"):
        add_ssf(make_model(), stages=[])


def test_a_convolution_beside_a_larger_one():
    model = make_model().double().eval()
    conv, x = model.layer2[0].conv1, mr.tensor(np.random.default_rng(2).standard_normal((2, 16, 7, 6)))
    before = conv(x)
    add_parallel(model)
    conv.adapter.array[...] = np.random.default_rng(3).standard_normal(conv.adapter.shape)
    beside = F.conv2d(x, conv.adapter, stride=conv.stride)
    assert np.allclose(conv(x).detach().numpy(), (before + beside).detach().numpy(), atol=1e-12)
    (conv(x) ** 2).sum().backward()
    (F.conv2d(x, alone := mr.tensor(conv.adapter.detach().numpy(), requires_grad=True), stride=conv.stride)
     + before.detach()).pow(2).sum().backward()  # fmt: skip
    assert np.allclose(conv.adapter.grad.numpy(), alone.grad.numpy(), atol=1e-9)
    with pytest.raises(UsageError, match="odd window"):
        add_parallel(models.create("cifar_resnet", depth=8, num_classes=2, norm="group_ws"))


def test_the_report():
    model = make_model()
    lora(model, rank=1)
    report = parameter_report(model)
    whole = report.pop("all")
    assert whole["total"] == sum(each.numel() for each in model.parameters())
    assert whole["trained"] == sum(row["trained"] for row in report.values()) < whole["total"] / 20
    assert report["head"]["trained"] == report["head"]["total"] == 64 * 4 + 4
    assert report["stem"]["trained"] == 27 + 16 and whole["bytes"] == 4 * whole["trained"]


# ------------------------------------------------------------------------------------------------------------- deltas


@pytest.mark.parametrize("kind", SMALL)
def test_a_delta_there_and_back(kind, tmp_path):
    model = make_model(classes=7)
    base = Base.of(model)
    replace_head(model, 4)
    model.metadata = {"preprocessing": {"resize": 8}, "classes": ["a", "b", "c", "d"]}
    trained(SMALL[kind], model)
    save_delta(model, tmp_path / "delta.safetensors", base)
    assert (tmp_path / "delta.safetensors").stat().st_size < 40_000, "the base has 300,000 bytes"
    again = make_model(classes=7)
    record = apply_delta(again, tmp_path / "delta.safetensors", num_classes=4)
    assert np.array_equal(outputs(again), outputs(model))
    assert everything(again) == everything(model)
    assert again.metadata == {"preprocessing": {"resize": 8}, "classes": ["a", "b", "c", "d"]}
    assert record["base"]["outputs"] == 7
    remove(again)
    assert np.array_equal(outputs(again), outputs(model))


def test_a_head_of_several_layers_and_merged_adapters(tmp_path):
    model = make_model()
    base = Base.of(model)
    replace_head(model, 3, (6,))
    trained(KINDS["lora"], model)
    learnt = outputs(model)
    merge(model)
    with pytest.raises(ValueError, match="unmerge"):
        save_delta(model, tmp_path / "delta.safetensors", base)
    unmerge(model)
    save_delta(model, tmp_path / "delta.safetensors", base)
    again = make_model()
    apply_delta(again, tmp_path / "delta.safetensors")
    assert np.array_equal(outputs(again), learnt)


@pytest.fixture
def delta(tmp_path):
    model = make_model(classes=7)
    base = Base.of(model)
    replace_head(model, 4)
    trained(KINDS["lora"], model)
    save_delta(model, tmp_path / "delta.safetensors", base)
    return tmp_path / "delta.safetensors"


def refused(model, path, error, match, **more):
    before, kinds = everything(model), [type(each) for each in model.modules()]
    with pytest.raises(error, match=match) as caught:
        apply_delta(model, path, **more)
    assert everything(model) == before and [type(each) for each in model.modules()] == kinds
    return caught.value


@pytest.mark.fault(
    "a delta of adapters for another base, another number of classes, or applied twice",
    "refused with a code of its own; the model stays as it was, bit for bit",
)
def test_what_a_delta_is_refused_for(delta):
    assert refused(make_model(seed=4, classes=7), delta, DeltaError, "other weights").code == "delta.base"
    assert refused(make_model(classes=7), delta, DeltaError, "4 classes, not 5", num_classes=5).code == "delta.classes"
    refused(make_model(classes=9), delta, DeltaError, "the model has a head for 9")
    refused(models.create("cifar_resnet", depth=14, num_classes=7), delta, DeltaError, "other weights")
    refused(models.create("resnet20", num_classes=7), delta, DeltaError, "this is a resnet20")
    nudged = make_model(classes=7)
    nudged.layer2[0].conv1.weight.array.flat[5] += np.float32(1e-6)
    refused(nudged, delta, DeltaError, "other weights")
    applied = make_model(classes=7)
    apply_delta(applied, delta)
    refused(applied, delta, UsageError, "adapters already")
    remove(applied)
    refused(applied, delta, DeltaError, "applied to these before")


@pytest.mark.fault(
    "a delta torn, of a later format, without its record, or with a tensor missing, too many or of another shape",
    "FileFormatError that names the file; the model stays as it was, bit for bit",
)
def test_damaged_deltas(delta):
    tensors, record = read_delta(delta)
    whole = delta.read_bytes()

    def write(tensors, record):
        safetensors.save_file(tensors, delta, {KEY: json.dumps(record)})

    first = next(name for name in tensors if name.endswith("lora_A"))
    cases = [
        lambda: delta.write_bytes(whole[:-5]),
        lambda: safetensors.save_file(tensors, delta),
        lambda: safetensors.save_file(tensors, delta, {KEY: "{"}),
        lambda: write(tensors, {**record, "format_version": 2}),
        lambda: write(tensors, {key: value for key, value in record.items() if key != "head"}),
        lambda: write({name: array for name, array in tensors.items() if name != "fc.bias"}, record),
        lambda: write({name: array for name, array in tensors.items() if name != first}, record),
        lambda: write({**tensors, "layer9.weight": tensors[first]}, record),
        lambda: write({**tensors, first: tensors[first][:, :-1]}, record),
        lambda: write(tensors, {**record, "adapters": {"kind": "magic"}}),
        lambda: write(tensors, {**record, "adapters": {"kind": "ssf"}}),
    ]
    for damage in cases:
        damage()
        assert str(delta) in str(refused(make_model(classes=7), delta, FileFormatError, "delta"))
