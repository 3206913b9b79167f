"""Whether a run that goes on computes as it did before: other threads or another library round otherwise.

A resumed run comes to the bits of an undisturbed one only where the same products are added in the same order. What
that depends on stands in env.json; differences are said and recorded, since nobody would see them in the weights.
"""

import os
from typing import Any

from minires.io import RunFolder, environment


def differences(folder: RunFolder) -> list[str]:
    """Such as "1 BLAS thread instead of 2"; nothing where the run has no env.json yet."""
    if not os.path.isfile(folder.file("env.json")):
        return []
    then, now = _facts(folder.read_json("env.json")), _facts(environment.describe())
    return [f"{now[name]} instead of {then[name]}" for name in now if then[name] != now[name]]


def _facts(found: dict[str, Any]) -> dict[str, str]:
    """What the bits depend on, as people would say it."""
    libraries = [library for library in found["blas"] if library["internal_api"] != "openmp"]
    threads = max((library["num_threads"] or 1 for library in libraries), default=1)
    kernels = " ".join(sorted({str(library["architecture"]) for library in libraries}))
    return {
        "threads": f"{threads} BLAS thread{'s' if threads != 1 else ''}",
        "kernels": f"{kernels} kernels",
        "cpu": f"the processor {found['cpu']}",
        "numpy": f"numpy {found['packages'].get('numpy')}",
        "minires": f"minires {found['minires']}",
    }
