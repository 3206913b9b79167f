"""The set "cuda" of the kernels: the reference's signatures, for CuPy arrays, in front of the hand-written kernels.

Images come as (N, C, H, W) by shape and are handed on as [N][H][W][C]; float32, float16 and bfloat16 are computed by
the kernels of this package, with sums in float32. float64 and whole numbers are computed by plain CuPy expressions
where there are such; float64 goes through the CPU where there are none (float64.py).
"""

from minires.kernels.cuda.adapters import activation, conv, group_norm, loss, matmul, moments, norm, optim, pool, sums

FAMILIES = (conv, moments, pool, norm, group_norm, activation, loss, matmul, optim, sums)
