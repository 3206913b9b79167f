"""SGD and Adam for many parameters in one launch, run on the CPU (or a GPU), against the reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.kernels.cuda import optims
from minires.kernels.reference import optim
from tests.cuda.harness import EmulatorError, needs_emulator
from tests.cuda.helpers import ON_GPU, Draw, assert_close, device_memory, each_kind, few, needs_kernels, running
from tests.cuda.numbers import encode

pytestmark = needs_kernels
LENGTHS = st.lists(st.sampled_from([1, 3, 300, 4095, 4096, 4097]), min_size=1, max_size=3)


class Parameters:
    """Device memory of several parameters by kind of array, and their addresses; frees them at the end."""

    def __init__(self, **kinds):
        self.arrays = {
            name: [device_memory(values, f"{name}{i}", role) for i, values in enumerate(lists)]
            for name, (lists, role) in kinds.items()
        }

    def addresses(self, *names):
        count = len(next(iter(self.arrays.values())))
        return [[a.address for a in self.arrays[name]] if name in self.arrays else [0] * count for name in names]

    def values(self, name):
        return [array.values.copy() for array in self.arrays[name]]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for arrays in self.arrays.values():
            for array in arrays:
                array.free()


def drawn(seed, lengths, kind):
    draw = Draw(seed, kind)
    grads = [draw(n) for n in lengths]
    return draw, [draw.numbers(n) for n in lengths], [g[0] for g in grads], [g[1] for g in grads]


@each_kind
@given(lengths=LENGTHS, seed=st.integers(0, 1000), momentum=st.sampled_from([0.0, 0.9]), first=st.booleans(),
       nesterov=st.booleans(), maximize=st.booleans(), has_copy=st.booleans())  # fmt: skip
@few(40)
def test_sgd(kind, lengths, seed, momentum, first, nesterov, maximize, has_copy):
    draw, parameters, grads, wide = drawn(seed, lengths, kind)
    buffers = [draw.numbers(n) for n in lengths]
    kinds = {"parameter": (parameters, "inout"), "grad": (grads, "inout")}
    if momentum:
        kinds["buffer"] = (buffers, "inout")
    if has_copy:
        kinds["copy"] = ([np.zeros_like(g) for g in grads], "inout")
    settings = (momentum, 0.1, 0.01, nesterov, maximize)  # dampening, weight decay
    with Parameters(**kinds) as held:
        chunks = optims.chunks_of(held.addresses("parameter", "grad", "buffer", "copy"), lengths)
        named = dict(zip(("momentum", "dampening", "weight_decay", "nesterov", "maximize"), settings, strict=True))
        given_ = {"rates": optims.sgd_rates(0.05), "factor": np.float32([0.5]), "first": first, **named}
        running(seed % 4)("sgd_step", kind, {**chunks.arguments(), **given_}, {})
        for i, ours in enumerate(held.values("parameter")):
            assert np.array_equal(held.values("grad")[i], encode(wide[i] * np.float32(0.5), kind))
            optim.sgd_step(parameters[i], wide[i] * 0.5, buffers[i] if momentum else None, first, 0.05, *settings)
            assert_close(ours, parameters[i], "float", "parameter", scale=1)
            if momentum:
                assert_close(held.values("buffer")[i], buffers[i], "float", "buffer", scale=1)
            if has_copy:
                assert np.array_equal(held.values("copy")[i], encode(ours, kind))


@each_kind
@given(lengths=LENGTHS, seed=st.integers(0, 1000), step=st.integers(1, 5), decoupled=st.booleans(),
       amsgrad=st.booleans(), maximize=st.booleans(), counted_there=st.booleans())  # fmt: skip
@few(40)
def test_adam(kind, lengths, seed, step, decoupled, amsgrad, maximize, counted_there):
    draw, parameters, grads, wide = drawn(seed, lengths, kind)
    m, v, largest = ([draw.numbers(n) ** power for n in lengths] for power in (1, 2, 2))
    kinds = {"parameter": (parameters, "inout"), "grad": (grads, "inout"), "m": (m, "inout"), "v": (v, "inout")}
    if amsgrad:
        kinds["largest"] = (largest, "inout")
    with Parameters(**kinds) as held:
        chunks = optims.chunks_of(held.addresses("parameter", "grad", "m", "v", "largest", "copy"), lengths)
        given_ = {
            "rates": optims.adam_rates(0.01, 0.9, 0.99, step), "factor": np.float32([0.5]), "beta1": 0.9, "beta2": 0.99,
            "eps": 1e-8, "weight_decay": 0.1, "decoupled": decoupled, "maximize": maximize, "rates_apart": 0,
        }  # fmt: skip
        if counted_there:
            steps = held.arrays["step"] = [device_memory(np.float32([step - 1]), f"step{i}", "inout") for i in lengths]
            addresses = np.array(held.addresses("step"), np.uint64)
            rates = optims.advanced_rates(running(seed % 4), addresses, len(lengths), 0.01, 0.9, 0.99)
            assert all(array.values[0] == step for array in steps)
            given_.update(rates=rates, rates_apart=3)
        running(seed % 4)("adam_step", kind, {**chunks.arguments(), **given_}, {})
        for i, ours in enumerate(held.values("parameter")):
            assert np.array_equal(held.values("grad")[i], encode(wide[i] * np.float32(0.5), kind))
            optim.adam_step(parameters[i], wide[i] * 0.5, m[i], v[i], largest[i] if amsgrad else None, step, 0.01, 0.9,
                            0.99, 1e-8, 0.1, decoupled, maximize)  # fmt: skip
            assert_close(ours, parameters[i], "float", "parameter", factor=3, scale=1)
            assert_close(held.values("m")[i], m[i], "float", "m", scale=1)
            assert_close(held.values("v")[i], v[i], "float", "v", scale=1)
            if amsgrad:
                assert_close(held.values("largest")[i], largest[i], "float", "largest", scale=1)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5)])
def test_the_rates_of_steps_counted_on_the_gpu(betas):
    """Those that the CPU computes in double precision, and so for tensors that have made different numbers of steps."""
    before = [0, 1, 9, 999, 100_000]
    with Parameters(step=([np.float32([step]) for step in before], "inout")) as held:
        addresses = np.array(held.addresses("step"), np.uint64)
        rates = optims.advanced_rates(running(1), addresses, len(before), 0.1, *betas)
        assert [values[0] for values in held.values("step")] == [step + 1 for step in before]
    exact = np.stack([optims.adam_rates(0.1, *betas, step + 1) for step in before])
    assert np.allclose(np.asarray(rates), exact, rtol=1e-6, atol=0)


@each_kind
@pytest.mark.parametrize("bad", [None, np.nan, np.inf])
@pytest.mark.parametrize("max_norm", [0.0, 1.0, 1e9])
def test_norm_and_factor(kind, bad, max_norm):
    _, _, grads, wide = drawn(1, [5, 5000], kind)
    if bad is not None:
        grads[1][4500] = encode(np.float32([bad]), kind)[0]
    with Parameters(grad=(grads, "in")) as held:
        chunks = optims.chunks_of(held.addresses("grad"), [5, 5000])
        made = optims.clip_factor(running(1), kind, chunks.arguments(), np.zeros(1, np.int32), 0.25, max_norm)
    assert made["skip"][0] == (bad is not None)
    if bad is None:
        norm = 0.25 * np.sqrt(sum((g.astype(float) ** 2).sum() for g in wide))
        factor = 0.25 * (min(1, max_norm / (norm + 1e-6)) if max_norm else 1)
        assert_close(made["result"], np.array([norm, factor]), "float", "norm and factor")


def test_a_step_that_is_skipped_changes_nothing():
    values = np.ones(10, np.float32)
    with Parameters(parameter=([values], "inout"), grad=([values], "in")) as held:
        chunks = optims.chunks_of(held.addresses("parameter", "grad", "buffer", "copy"), [10])
        numbers = {"first": 0, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": 0, "maximize": 0}
        given_ = {**chunks.arguments(), "rates": optims.sgd_rates(0.1), **numbers}
        running()("sgd_step", "float", {**given_, "skip": np.ones(1, np.int32)}, {})
        assert np.array_equal(held.values("parameter")[0], values)
        running()("sgd_step", "float", {**given_, "skip": np.zeros(1, np.int32)}, {})
        assert np.allclose(held.values("parameter")[0], 0.9)


@needs_emulator
@pytest.mark.skipif(ON_GPU, reason="only the emulator finds it")
def test_a_wrong_length_is_found():
    values = np.ones(10, np.float32)
    with Parameters(grad=([values], "in")) as held:
        chunks = optims.chunks_of(held.addresses("grad"), [11])
        with pytest.raises(EmulatorError, match="'grad0', byte 40 of 40"):
            optims.clip_factor(running(), "float", chunks.arguments(), np.zeros(1, np.int32), 1.0, 0.0)
