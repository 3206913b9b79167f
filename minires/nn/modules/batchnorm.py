"""torch.nn.modules.batchnorm: batch norms, and what they have in common, for `isinstance(module, _BatchNorm)`."""

from minires.nn.norm import BatchNorm1d, BatchNorm2d, _BatchNorm
from minires.nn.norm_of_samples import BatchNorm3d

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "_BatchNorm"]
