"""Floor 0: what the processor can do, and the matrix products that NumPy's OpenBLAS should be told to use on it.

OpenBLAS holds a set of kernels for each family of processors and chooses when it is loaded, which is when NumPy is
first imported. Some versions choose AVX2 kernels on processors that have AVX-512, and products then take almost twice
the time. The variable OPENBLAS_CORETYPE chooses instead; but kernels with instructions that the processor lacks end
the process on the spot, so that nothing but the processor's own list of instructions may decide.

`prepare` is called by `minires/__init__.py` before anything imports NumPy. Where NumPy came first it is too late:
`minires doctor` then says what would have been faster.
"""

import os
import pathlib
import platform
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager

AVX512 = frozenset({"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"})  # what the SkylakeX kernels use
CORE, THREADS = "OPENBLAS_CORETYPE", "MINIRES_THREADS"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS")


def flags() -> frozenset[str]:
    """The instruction sets that every processor of this machine has, as Linux lists them; nothing elsewhere."""
    listing = pathlib.Path("/proc/cpuinfo")  # not a file on a disk: the system writes it as it is read
    try:
        lines = listing.read_text("utf-8", "replace").splitlines()
    except OSError:
        return frozenset()  # no Linux, or /proc is hidden: then nothing is known, and nothing is chosen
    named = [line.partition(":") for line in lines]
    sets = [frozenset(value.split()) for key, _, value in named if key.strip() in ("flags", "Features")]
    return frozenset.intersection(*sets) if sets else frozenset()


def best_core(instructions: frozenset[str], machine: str | None = None) -> str | None:
    """The OpenBLAS kernels to ask for, None to leave the choice to OpenBLAS. `machine`: default this one's kind."""
    is_x86 = (machine or platform.machine()).lower() in ("x86_64", "amd64")
    return "SkylakeX" if is_x86 and instructions >= AVX512 else None


def thread_setting(environment: Mapping[str, str]) -> str | None:
    """MINIRES_THREADS, where the user has not told the libraries themselves. ValueError if it is no number above 0."""
    wanted = environment.get(THREADS)
    if wanted is None or any(name in environment for name in THREAD_VARIABLES):
        return None
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"{THREADS} must be a whole number from 1, got {wanted!r}")
    return wanted


@contextmanager
def prepare(environment: MutableMapping[str, str] = os.environ) -> Iterator[str | None]:
    """A block in which NumPy is to be imported for the first time; gives the kernels asked for, None if none are.

    Nothing happens where NumPy is loaded already; a variable that the user has set stays as it is. OPENBLAS_CORETYPE is
    taken away again at the end of the block, since child processes may run on another library or machine;
    MINIRES_THREADS reaches OpenBLAS as OPENBLAS_NUM_THREADS, which child processes keep.
    """
    if "numpy" in sys.modules:
        yield None
        return
    threads = thread_setting(environment)
    if threads is not None:
        environment["OPENBLAS_NUM_THREADS"] = threads
    core = None if CORE in environment else best_core(flags())
    if core is None:
        yield None
        return
    environment[CORE] = core
    try:
        yield core
    finally:
        del environment[CORE]
