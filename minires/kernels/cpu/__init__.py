"""The fast NumPy kernels. A name that is missing here falls back to the reference version."""

from types import ModuleType

FAMILIES: tuple[ModuleType, ...] = ()
