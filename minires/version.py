"""Floor 0: the version, in the one place that packaging, checkpoints and reports read it from."""

__version__ = "0.1.0"
