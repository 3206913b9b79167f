"""Whether float32 may be computed as tf32 (10 bits of fraction) on a GPU. `minires.backends` shows it to users.

The defaults are PyTorch's: convolutions may, matrix products may not.
"""

from typing import Any

convolutions = True  # torch.backends.cudnn.allow_tf32
products = False  # torch.backends.cuda.matmul.allow_tf32
_in_force: bool | None = None  # what CuPy was told last; None: nothing yet


def tell_cupy(cupy: Any, allowed: bool) -> None:
    """Before a product of float32 matrices: let cuBLAS use tf32, or not."""
    global _in_force
    if _in_force is allowed or (_in_force is None and not allowed):
        return
    linalg = cupy._core._routines_linalg
    kind = linalg.COMPUTE_TYPE_TF32 if allowed else linalg.COMPUTE_TYPE_DEFAULT
    linalg.set_compute_type(cupy.dtype("float32"), kind)
    _in_force = allowed
