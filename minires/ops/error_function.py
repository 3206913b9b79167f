"""The error function erf x = 2 / sqrt(pi) * integral of e^(-t^2) from 0 to x, which the exact GELU needs, and erfc.

NumPy has neither. The method and the coefficients are those of fdlibm's s_erf.c (Sun Microsystems 1993; in every C
library since), which is off by less than one unit in the last place. The line is cut into four parts by |x|, with a
rational function P(z) / Q(z) for each:

    |x| < 0.84375           erf x = x + x P(x^2) / Q(x^2)
    0.84375 <= |x| < 1.25   erf |x| = c + P(|x| - 1) / Q(|x| - 1), with c close to erf 1
    1.25 <= |x|             erfc |x| = e^(-x^2 - 0.5625 + R(1/x^2) / S(1/x^2)) / |x|, another beyond 1 / 0.35
"""

import math

import numpy as np

from minires.backend import Array, array_module, float32
from minires.ops.pointwise import Pointwise, function_of

# Coefficients from the constant upwards
NEAR_ZERO = (
    (1.28379167095512558561e-01, -3.25042107247001499370e-01, -2.84817495755985104766e-02, -5.77027029648944159157e-03,
     -2.37630166566501626084e-05),
    (1.0, 3.97917223959155352819e-01, 6.50222499887672944485e-02, 5.08130628187576562776e-03,
     1.32494738004321644526e-04, -3.96022827877536812320e-06),
)  # fmt: skip
NEAR_ONE = (
    (-2.36211856075265944077e-03, 4.14856118683748331666e-01, -3.72207876035701323847e-01, 3.18346619901161753674e-01,
     -1.10894694282396677476e-01, 3.54783043256182359371e-02, -2.16637559486879084300e-03),
    (1.0, 1.06420880400844228286e-01, 5.40397917702171048937e-01, 7.18286544141962662868e-02,
     1.26171219808761642112e-01, 1.36370839120290507362e-02, 1.19844998467991074170e-02),
)  # fmt: skip
BEYOND = (
    (-9.86494403484714822705e-03, -6.93858572707181764372e-01, -1.05586262253232909814e+01, -6.23753324503260060396e+01,
     -1.62396669462573470355e+02, -1.84605092906711035994e+02, -8.12874355063065934246e+01,
     -9.81432934416914548592e+00),
    (1.0, 1.96512716674392571292e+01, 1.37657754143519042600e+02, 4.34565877475229228821e+02,
     6.45387271733267880336e+02, 4.29008140027567833386e+02, 1.08635005541779435134e+02, 6.57024977031928170135e+00,
     -6.04244152148580987438e-02),
)  # fmt: skip
FAR = (
    (-9.86494292470009928597e-03, -7.99283237680523006574e-01, -1.77579549177547519889e+01, -1.60636384855821916062e+02,
     -6.37566443368389627722e+02, -1.02509513161107724954e+03, -4.83519191608651397019e+02),
    (1.0, 3.03380607434824582924e+01, 3.25792512996573918826e+02, 1.53672958608443695994e+03,
     3.19985821950859553908e+03, 2.55305040643316442583e+03, 4.74528541206955367215e+02, -2.24409524465858183362e+01),
)  # fmt: skip
ERF_OF_ONE = 8.45062911510467529297e-01  # c


def _rational(z: Array, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Array:
    """P(z) / Q(z) by Horner's rule, in z's own type."""
    above, below = (0 * z + polynomial[-1] for polynomial in coefficients)
    for coefficient in reversed(coefficients[0][:-1]):
        above = above * z + coefficient
    for coefficient in reversed(coefficients[1][:-1]):
        below = below * z + coefficient
    return above / below


def _tail(size: Array) -> Array:
    """erfc of sizes >= 1.25. x^2 is split into a part that is exact in short numbers and a rest: no digit is lost."""
    xp = array_module(size)
    inverse = 1 / (size * size)
    ratio = xp.where(size < 1 / 0.35, _rational(inverse, BEYOND), _rational(inverse, FAR))
    short = size.astype(np.float16 if size.dtype == float32 else float32).astype(size.dtype)
    return xp.exp(-short * short - 0.5625) * xp.exp((short - size) * (short + size) + ratio) / size


def error_functions(x: Array) -> tuple[Array, Array]:
    """(erf x, erfc x), each to its last digits, in float32 or float64."""
    xp = array_module(x)
    size = xp.absolute(x)
    erf = xp.where(xp.isnan(x), x, xp.sign(x))
    erfc = 1 - erf
    near, middle = size < 0.84375, (size >= 0.84375) & (size < 1.25)
    far = (size >= 1.25) & (size < 28)  # beyond that even float64 cannot tell erfc from 0
    z = x[near]
    part = z * _rational(z * z, NEAR_ZERO)
    erf[near] = z + part
    erfc[near] = xp.where(z < 0.25, 1 - (z + part), 0.5 - ((z - 0.5) + part))
    for place, complement in ((middle, None), (far, _tail)):
        z, negative = size[place], x[place] < 0
        if complement is None:
            rest = _rational(z - 1, NEAR_ONE)
            inner, outer = ERF_OF_ONE + rest, (1 - ERF_OF_ONE) - rest
        else:
            outer = complement(z)
            inner = 1 - outer
        erf[place] = xp.where(negative, -inner, inner)
        erfc[place] = xp.where(negative, 1 + inner, outer)
    return erf, erfc


def _in_float32_at_least(x: Array, which: int) -> Array:
    wide = x if x.dtype.itemsize >= 4 else x.astype(float32)
    return error_functions(wide.reshape(-1))[which].reshape(x.shape).astype(x.dtype, copy=False)


def erf_of(x: Array) -> Array:
    """erf of an array of real numbers, for other operations to use (GELU)."""
    return _in_float32_at_least(x, 0)


class Erf(Pointwise):
    """y = erf x;  dx = dy 2 / sqrt(pi) e^(-x^2)."""

    value = staticmethod(lambda xp, x: erf_of(x))
    slope = staticmethod(lambda xp, x: 2 / math.sqrt(math.pi) * xp.exp(-x * x))


class Erfc(Pointwise):
    """y = erfc x = 1 - erf x, with all its digits where erf x is nearly 1;  dx = -dy 2 / sqrt(pi) e^(-x^2)."""

    value = staticmethod(lambda xp, x: _in_float32_at_least(x, 1))
    slope = staticmethod(lambda xp, x: -2 / math.sqrt(math.pi) * xp.exp(-x * x))


erf, erfc = function_of(Erf), function_of(Erfc)
