"""Helpers under torch.utils' names: `minires.utils.checkpoint`."""

from minires.utils import checkpoint

__all__ = ["checkpoint"]
