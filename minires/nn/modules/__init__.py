"""torch.nn.modules, as far as model files name it: the layers once more, and the modules `batchnorm` and `utils`."""

from minires import nn
from minires.nn.modules import batchnorm, utils


def __getattr__(name: str) -> type:
    value = getattr(nn, name, None)
    if not isinstance(value, type):
        raise AttributeError(f"module 'minires.nn.modules' has no attribute {name!r}")
    return value


__all__ = ["batchnorm", "utils"]
