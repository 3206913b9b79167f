"""Convolutions with groups in a plan (ResNeXt): a product for each few groups, as many as make 32 input channels.

A group of 4 channels alone makes a product of 36 by 4 values a place, for which BLAS takes longer than for one eight
times as large. So neighbouring groups are multiplied together: their weights stand along the diagonal of a matrix whose
other blocks are zero.
"""

import math
from functools import partial

import numpy as np

from minires.kernels.cpu.inference_conv import Layer
from minires.kernels.cpu.inference_layout import Activation, Call, Share
from minires.kernels.cpu.inference_memory import Workspace
from minires.kernels.cpu.windows import Geometry

CHANNELS = 32


class Grouped(Layer):
    """weight (O, C / groups, KH, KW)."""

    divides_outputs = False

    def __init__(
        self, weight: np.ndarray, bias: np.ndarray | None, geometry: Geometry, relu: bool, groups: int
    ) -> None:
        super().__init__(weight, bias, geometry, relu)
        self.groups, self.inputs = groups, weight.shape[1] * groups
        fitting = [n for n in range(1, groups + 1) if groups % n == 0 and n * weight.shape[1] <= CHANNELS]
        self.joined = max(fitting, default=1)  # groups to a product

    @property
    def products(self) -> int:
        return self.groups // self.joined

    @property
    def matrix_shape(self) -> tuple[int, ...]:
        """(products, KH KW c, o), with c and o the channels of the groups of a product."""
        kh, kw, c, o = self.filters.shape
        return self.products, kh * kw * c * self.joined, o // self.products

    def matrix(self) -> np.ndarray:
        kh, kw, c, o = self.filters.shape
        each = self.filters.reshape(kh, kw, c, self.products, self.joined, o // self.groups)
        whole = np.zeros((self.products, kh, kw, self.joined, c, self.joined, o // self.groups), self.dtype)
        for number in range(self.joined):
            whole[:, :, :, number, :, number] = each[:, :, :, :, number].transpose(3, 0, 1, 2, 4)
        return whole.reshape(self.matrix_shape)

    def calls(
        self, x: Activation, y: Activation, residual: Activation | None, work: Workspace, share: Share
    ) -> list[Call]:
        calls: list[Call] = []
        taps, weights = math.prod(self.geometry.kernel), self.weights(None)
        for images, rows, channels in self.parts(y, y.shape[2] * taps * self.inputs, share):
            work.start()
            view = x.windows(images, rows, self.geometry)
            view = view.reshape(*view.shape[:5], self.products, -1).transpose(5, 0, 1, 2, 3, 4, 6)
            columns = work.take(view.shape, self.dtype)
            out = y.matrix(images, slice(rows.start, rows.stop))
            places = math.prod(view.shape[1:4])
            if out is None:
                out = work.take((places, self.outputs), self.dtype)
            by_product = out.reshape(places, self.products, -1).transpose(1, 0, 2)
            calls.append(partial(np.copyto, columns, view))
            calls += weights.product(columns.reshape(self.products, places, -1), by_product)
            calls += self.finish(out, y, residual, images, rows, channels)
        return calls
