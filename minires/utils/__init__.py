"""Helpers under torch.utils' names: `minires.utils.checkpoint`, and what torch.utils.data has of `minires.data`."""

from minires.utils import checkpoint, data

__all__ = ["checkpoint", "data"]
