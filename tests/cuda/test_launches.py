"""Launches at real sizes, without running them: all convolutions of a ResNet-50, batch 256, fit a GPU's limits."""

import math

import numpy as np
import pytest

from minires.kernels.cuda import convs, launch, norms, table
from minires.kernels.cuda.convs import Layer

BATCH = 256
HOPPER_SHARED = 227 << 10
SMALLEST_SHARED = 99 << 10  # bytes a block may have on compute capability 8.6 and 8.9, the least of all since 8.0


def bottlenecks():
    """(image side, channels in, middle, out, stride) of the sixteen bottlenecks, 224 x 224 pictures."""
    side, channels = 56, 64
    for middle, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            step = stride if block == 0 else 1
            yield side, channels, middle, middle * 4, step
            side, channels = side // step, middle * 4


def layers():
    yield Layer((BATCH, 224, 224, 3), (64, 7, 7, 3), (2, 2), (3, 3))
    for side, channels, middle, out, stride in bottlenecks():
        yield Layer((BATCH, side, side, channels), (middle, 1, 1, channels))
        yield Layer((BATCH, side, side, middle), (middle, 3, 3, middle), (stride, stride), (1, 1))
        yield Layer((BATCH, side // stride, side // stride, middle), (out, 1, 1, middle))
        if channels != out:
            yield Layer((BATCH, side, side, channels), (out, 1, 1, channels), (stride, stride))


class Planned:
    """An array that is only a shape and a type."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype, self.size = tuple(shape), np.dtype(dtype), math.prod(shape)

    @property
    def nbytes(self):
        return self.size * self.dtype.itemsize


def planner(launches):
    """A `run` that launches nothing: it keeps (kernel, launch, outputs)."""

    def run(name, instance, given, outputs):
        assert instance in table.KERNELS[name].instances
        shape = table.KERNELS[name].rule(given, launch.template_arguments(instance))
        made = {key: Planned(*value) for key, value in outputs.items()}
        launches.append((f"{name}<{instance}>", shape, made))
        return made

    return run


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
@pytest.mark.parametrize("exact", [True, False])
def test_every_layer_fits(dtype, exact):
    for layer in layers():
        launches = []
        run = planner(launches)
        x, weight, y = (Planned(shape, dtype) for shape in (layer.x_shape, layer.weight_shape, layer.y_shape))
        convs.forward(run, x, weight, layer, {}, exact, wants_sums=True)
        convs.input_gradient(run, y, weight, layer, exact)
        convs.weight_gradient(run, y, x, layer, exact)
        norms.batch_norm_training_forward(run, Planned((layer.pixels, y.shape[3]), dtype), None, None, 1e-5, None, True)
        for name, shape, made in launches:
            x_blocks, y_blocks, z_blocks = shape.grid
            assert 0 < x_blocks < 2**31 and 0 < y_blocks <= 65535 and 0 < z_blocks <= 65535, (name, layer)
            assert 0 < shape.block <= 1024 and shape.shared <= SMALLEST_SHARED, (name, layer)
            work = sum(array.nbytes for key, array in made.items() if key in ("partial", "sums"))
            assert work <= max(64 << 20, y.nbytes // 8), (name, layer, work)


@pytest.mark.parametrize("way", list(convs.WARPGROUPS))
def test_every_layer_fits_hopper(way):
    for layer in list(layers())[1:]:
        launches = []
        run = planner(launches)
        x, weight, y = (Planned(shape, np.uint16) for shape in (layer.x_shape, layer.weight_shape, layer.y_shape))
        convs.forward(run, x, weight, layer, {}, False, way=way)
        convs.input_gradient(run, y, weight, layer, False, way=way)
        convs.weight_gradient(run, y, x, layer, False, way=way)
        assert sum(name.startswith("conv_wgmma") for name, _, _ in launches) == 3
        for name, shape, made in launches:
            assert max(shape.grid[1:]) <= 65535 and shape.shared <= HOPPER_SHARED, (name, layer)
            assert sum(array.nbytes for key, array in made.items() if key == "partial") <= 64 << 20, (name, layer)


def test_large_layers_fill_a_gpu():
    """At least one block a processor, for all three products of every layer but the stem's weights."""
    for layer in list(layers())[1:]:
        launches = []
        run = planner(launches)
        x, weight, y = (Planned(shape, np.uint16) for shape in (layer.x_shape, layer.weight_shape, layer.y_shape))
        convs.forward(run, x, weight, layer, {}, False)
        convs.input_gradient(run, y, weight, layer, False)
        convs.weight_gradient(run, y, x, layer, False)
        for name, shape, _ in launches:
            if name.startswith("conv_mma"):
                assert math.prod(shape.grid) >= norms.PROCESSORS, (name, layer, shape)


def test_the_layers_are_those_of_a_resnet50():
    found = list(layers())
    assert len(found) == 53
    weights = sum(math.prod(layer.weight_shape) for layer in found)
    products = sum(math.prod(layer.weight_shape) * layer.pixels for layer in found)
    assert weights == 23_454_912  # 25.6 M without the classifier and the norms
    assert abs(products / BATCH / 4.09e9 - 1) < 0.01
