"""Every instance of every kernel as machine code: it compiles, and takes the registers and the memory it took before.

The committed table resources.csv is compared, and nothing may spill into local memory, where NVRTC has the version that
made the table; with another version every instance must compile.
"""

import functools

import pytest

from minires.kernels.cuda import table
from tests.cuda import resources

pytest.importorskip("cupy", reason="compiling needs cupy-cuda12x and nvidia-cuda-nvrtc-cu12")
FILES = sorted({kernel.file for kernel in table.KERNELS.values()})


@functools.cache
def is_same_version():
    return resources.version() == resources.recorded()[0]


def all_cases():
    """(file, architecture); a few quick ones, the others marked slow: together they take more than a minute."""
    for file in FILES:
        for architecture in (*resources.ARCHITECTURES, "newest"):
            is_quick = file in ("sums.cu", "optim.cu", "images.cu") and architecture == "90a"
            yield pytest.param(file, architecture, marks=() if is_quick else pytest.mark.slow)


@pytest.mark.parametrize(("file", "architecture"), list(all_cases()))
def test_compiles_with_what_the_table_records(file, architecture):
    if architecture == "newest":
        architecture = resources.architectures()[-1]
    rows = resources.rows_of(file, architecture)
    runs = any(k.file == file and k.runs_on(int(architecture.rstrip("a"))) for k in table.KERNELS.values())
    assert bool(rows) == runs
    assert all(int(row["registers"]) <= 255 for row in rows)
    if is_same_version():
        assert [row["kernel"] for row in rows if row["spilled_bytes"] != "0"] == []
        expected = [
            r for r in resources.recorded()[1] if (r["file"], r["architecture"]) == (file, f"sm_{architecture}")
        ]
        assert rows == expected, "a kernel changed: run `python -m tests.cuda.resources` and look at the difference"


def test_the_table_has_every_instance():
    recorded = resources.recorded()[1]
    for architecture in ("sm_75", "sm_80", "sm_90a"):
        names = {row["kernel"] for row in recorded if row["architecture"] == architecture}
        number = int(architecture[3:5])
        wanted = {k.expression(i) for k in table.KERNELS.values() if k.runs_on(number) for i in k.instances}
        assert names == wanted
    assert {row["file"] for row in recorded} == set(FILES)


def test_machine_code_for_one_architecture():
    """What the loader makes of a file that has instructions of Hopper alone."""
    import cupy

    from minires.kernels.cuda import loader

    names = loader.expressions("conv_wgmma.cu", 90)[:1]
    code, functions = loader.machine_code(cupy, "conv_wgmma.cu", names, "90a")
    assert code[:4] == b"\x7fELF" and "pack_weights" in functions[names[0]]
    assert loader.expressions("conv_wgmma.cu", 80) == loader.expressions("conv_wgmma.cu", 100) == []


def test_a_kernel_that_does_not_compile_is_reported(monkeypatch):
    monkeypatch.setattr(resources.source, "expanded", lambda file: "__global__ void sum_partials() { nonsense; }")
    with pytest.raises(AssertionError, match="nonsense"):
        resources.compiled("sums.cu", "80")


def test_products_that_wait_for_each_other_are_reported(monkeypatch):
    """What ptxas says, and computes, without the registers pinned before the first wgmma."""
    text = resources.source.expanded("conv_wgmma.cu")
    assert text.count("  wgmma_results(sum);\n") == 1
    monkeypatch.setattr(resources.source, "expanded", lambda file: text.replace("  wgmma_results(sum);\n", ""))
    names = ["conv_wgmma_weight_gradient<__half, 64>"]
    monkeypatch.setattr(resources.loader, "expressions", lambda file, capability: names)
    with pytest.raises(AssertionError, match="wgmma_weight_gradient"):
        resources.compiled("conv_wgmma.cu", "90a")
