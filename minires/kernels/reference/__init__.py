"""The textbook kernels: each computes its formula in float64, whatever its arrays' type, and rounds once at the end.

Slow and obviously right: every faster kernel is tested against these.
"""

from minires.kernels.reference import (
    activation,
    conv,
    conv1x1_norm,
    conv_act,
    group_norm,
    loss,
    matmul,
    moments,
    norm,
    optim,
    pool,
    sums,
)

FAMILIES = (conv, conv_act, conv1x1_norm, moments, pool, norm, group_norm, activation, loss, matmul, optim, sums)
