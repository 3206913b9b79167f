"""Switches of what computes, with torch.backends' names: `minires.backends.cpu.benchmark`.

`mr.backends.cpu.benchmark = True`, `mr.backends.cudnn.benchmark = True`: try which algorithm is the fastest for each
convolution, on the CPU or on a GPU, and remember it.
`mr.backends.cuda.matmul.allow_tf32`, `mr.backends.cudnn.allow_tf32`: whether float32 may lose 13 bits on a GPU.
The classes have __slots__: a wrong name is an AttributeError, and no switch that does nothing.
"""

import json
import warnings
from typing import Any

from minires.io import environment, files
from minires.io.download import cache_folder
from minires.kernels.cpu import autotune
from minires.kernels.cuda import autotune as gpu_autotune
from minires.kernels.cuda import switches
from minires.version import __version__


class CpuBackend:
    """How the CPU computes.

    benchmark (default False): as torch.backends.cudnn.benchmark. While it is True, the first convolution of each shape
    is computed in several ways, and the fastest is used from then on, by later processes, too: choices are kept in
    `file()`. Off, rules of thumb choose; a run that is to be repeated bit for bit is left to those.
    """

    __slots__ = ("_benchmark",)

    def __init__(self) -> None:
        self._benchmark = False

    @property
    def benchmark(self) -> bool:
        """Whether algorithms are chosen by trying."""
        return self._benchmark

    @benchmark.setter
    def benchmark(self, wanted: bool) -> None:
        if _flag("benchmark", wanted) and not self._benchmark:
            path, choices = self.file(), self.remembered()
            autotune.switch_on(choices, lambda: _save(path, _machine(), choices))
        elif not wanted:
            autotune.switch_off()
        self._benchmark = wanted

    def file(self) -> str:
        """Where the choices are kept: one file for all machines that share the cache folder."""
        return _file()

    def remembered(self) -> dict[str, str]:
        """The choices that were made on this machine with these versions; a file that is damaged counts as none."""
        return dict(_load(self.file()).get(_machine(), {}))


def _file() -> str:
    return f"{cache_folder()}/autotune.json"


def _machine() -> str:
    """What choices depend on beside the layer: the processor, the matrix kernels and the versions."""
    facts = environment.describe(command=[], seed=0)
    cores = [library["architecture"] for library in facts["blas"] if library["architecture"]]
    numpy = facts["packages"]["numpy"]
    return f"{facts['cpu']}, {facts['cpus']} processors, {' '.join(cores)}, numpy {numpy}, minires {__version__}"


def _load(path: str) -> dict[str, Any]:
    try:
        found = json.loads(files.read_text(path))
    except files.FileAccessError as error:
        if error.code != "file.not_found":
            raise
        return {}
    except (ValueError, RecursionError):
        found = None
    if not (
        isinstance(found, dict)
        and all(isinstance(choices, dict) for choices in found.values())
        and all(isinstance(choice, str) for choices in found.values() for choice in choices.values())
    ):
        warnings.warn(f"{path} is damaged: the fastest algorithms are looked for anew", stacklevel=4)
        return {}
    return found


def _save(path: str, machine: str, choices: dict[str, str]) -> None:
    """Write a machine's choices beside those of others, and of other processes on it; a warning where that fails."""
    try:
        found = _load(path)
        merged = {**found, machine: {**found.get(machine, {}), **choices}}
        files.make_folder(cache_folder())
        files.write_atomic(path, json.dumps(merged, indent=1, sort_keys=True) + "\n")
    except files.FileAccessError as error:  # the convolution that was tried can be computed all the same
        warnings.warn(f"which algorithms are the fastest is not kept: {error}", stacklevel=4)


class MatmulSwitches:
    """allow_tf32 (default False): whether products of float32 matrices on a GPU may round their operands to tf32."""

    __slots__ = ()

    @property
    def allow_tf32(self) -> bool:
        """Whether tf32 is allowed."""
        return switches.products

    @allow_tf32.setter
    def allow_tf32(self, wanted: bool) -> None:
        switches.products = _flag("allow_tf32", wanted)


class CudaBackend:
    """How matrix products are computed on a GPU: `matmul.allow_tf32`."""

    __slots__ = ("matmul",)

    def __init__(self) -> None:
        self.matmul = MatmulSwitches()


class CudnnBackend:
    """How convolutions are computed on a GPU. Named as PyTorch's, though the kernels are our own and no cuDNN.

    allow_tf32 (default True): whether convolutions of float32 may round their operands to tf32.
    benchmark (default False): while it is True, the first convolution of each shape is computed in all ways that there
    are (tile sizes, instructions, cuBLAS for 1 x 1 windows), and the fastest is used from then on, by later processes
    on the same kind of GPU, too: choices are kept beside those of `backends.cpu.benchmark`, in the file that
    `backends.cpu.file()` names. Nothing is timed while a CUDA graph is captured. May be set without a GPU.
    deterministic (default False): while it is True, rules of thumb choose whatever `benchmark` says and whatever is
    remembered, the same on every GPU. Each single way gives the same bits each time; no choice of ways does.
    trials: what was chosen since the process began (or since `trials.clear()`), by layer: each way's milliseconds, and
    why a way is not used.

        mr.backends.cudnn.benchmark = True
        model(images)
        for layer, trial in mr.backends.cudnn.trials.items():
            print(layer, trial.chosen, trial.milliseconds)
    """

    __slots__ = ("_benchmark",)
    trials = gpu_autotune.trials

    def __init__(self) -> None:
        self._benchmark = False

    @property
    def benchmark(self) -> bool:
        """Whether ways are chosen by timing."""
        return self._benchmark

    @benchmark.setter
    def benchmark(self, wanted: bool) -> None:
        if _flag("benchmark", wanted) and not self._benchmark:
            path = _file()
            found = _load(path)
            gpu_autotune.switch_on(
                lambda machine: dict(found.get(machine, {})),
                lambda machine, choices: _save(path, machine, choices),
            )
        elif not wanted:
            gpu_autotune.switch_off()
        self._benchmark = wanted

    @property
    def deterministic(self) -> bool:
        """Whether rules of thumb choose, and nothing else."""
        return gpu_autotune.deterministic

    @deterministic.setter
    def deterministic(self, wanted: bool) -> None:
        gpu_autotune.deterministic = _flag("deterministic", wanted)

    @property
    def allow_tf32(self) -> bool:
        """Whether tf32 is allowed."""
        return switches.convolutions

    @allow_tf32.setter
    def allow_tf32(self, wanted: bool) -> None:
        switches.convolutions = _flag("allow_tf32", wanted)


def _flag(name: str, wanted: bool) -> bool:
    if not isinstance(wanted, bool):
        raise TypeError(f"{name} must be True or False, got {wanted!r}")
    return wanted


def set_float32_matmul_precision(precision: str) -> None:
    """As torch's: "highest" keeps products of float32 matrices exact, "high" and "medium" allow tf32 on a GPU.

    Raises ValueError for another word.
    """
    if precision not in ("highest", "high", "medium"):
        raise ValueError(f"precision is highest, high or medium, got {precision!r}")
    switches.products = precision != "highest"


def get_float32_matmul_precision() -> str:
    """ "highest", or "high" where tf32 is allowed ("medium" is the same here)."""
    return "high" if switches.products else "highest"


cpu, cuda, cudnn = CpuBackend(), CudaBackend(), CudnnBackend()


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """True: nothing is chosen by timing any more, on the CPU (`cpu.benchmark`) or on a GPU (`cudnn.deterministic`).

    There is no algorithm here that gives other bits from one run to the next, so that none is refused, nor, with
    warn_only, warned of.
    """
    cudnn.deterministic = _flag("mode", mode)
    if mode:
        cpu.benchmark = False


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was called with last; False at first."""
    return cudnn.deterministic
