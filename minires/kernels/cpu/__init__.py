"""The fast NumPy kernels, float32 and float64. A name that is missing here falls back to the reference version.

What makes them fast: products by BLAS over channels-last memory, blocks that stay in the cache, memory that is used
again (`buffers`, `allocator`), both cores (`parallel`). Results are never views of the arguments; images and their
gradients come back stored channels last.
"""

from minires.kernels.cpu import (
    activation,
    allocator,
    conv,
    conv1x1_norm,
    conv_act,
    group_norm,
    loss,
    matmul,
    norm,
    optim,
    pool,
    sums,
)

FAMILIES = (conv, conv_act, conv1x1_norm, pool, norm, group_norm, activation, loss, matmul, optim, sums)

allocator.keep_freed_memory()
