"""Compiles every instance of every kernel to machine code with NVRTC, which needs no GPU, and reads what it takes.

    python -m tests.cuda.resources      writes resources.csv anew, after a change of a kernel or of NVRTC's version

Needs cupy-cuda12x, nvidia-cuda-nvrtc-cu12 and nvidia-cuda-runtime-cu12.
"""

import csv
import pathlib
import re

from minires.kernels.cuda import loader, source, table

TABLE = pathlib.Path(__file__).with_name("resources.csv")
COLUMNS = ("file", "kernel", "architecture", "registers", "spilled_bytes", "shared_bytes")
ARCHITECTURES = ("75", "80", "90a")  # and the newest that NVRTC knows

FUNCTION = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


def architectures():
    from cupy.cuda import nvrtc

    return (*ARCHITECTURES, str(max(nvrtc.getSupportedArchs())))


def compiled(file, architecture):
    """[(expression, registers, spilled bytes, static shared bytes)] of all instances in one file."""
    from cupy.cuda import nvrtc

    names = loader.expressions(file, int(architecture.rstrip("a")))
    if not names:
        return []
    program = nvrtc.createProgram(source.expanded(file), file, (), ())
    try:
        for name in names:
            nvrtc.addNameExpression(program, name)
        options = (*loader.options(), f"--gpu-architecture=sm_{architecture}", "--ptxas-options=-v")
        try:
            nvrtc.compileProgram(program, options)
        except nvrtc.NVRTCError as error:
            raise AssertionError(
                f"{file} for sm_{architecture}: {error}\n{nvrtc.getProgramLog(program)[:4000]}"
            ) from None
        assert len(nvrtc.getCUBIN(program)) > 1000
        check_wgmma(nvrtc.getProgramLog(program))
        found = {}
        for mangled, stack, stores, loads, registers, rest in FUNCTION.findall(nvrtc.getProgramLog(program)):
            shared = re.search(r"(\d+) bytes smem", rest)
            spilled = max(int(stack), int(stores), int(loads))
            found[mangled] = (int(registers), spilled, int(shared[1]) if shared else 0)
        return [(name, *found[nvrtc.getLoweredName(program, name)]) for name in names]
    finally:
        nvrtc.destroyProgram(program)


def check_wgmma(log):
    """Products that wait for each other are no error to the compiler; here they are."""
    lost = [line for line in log.splitlines() if "wgmma" in line and "serialized" in line]
    assert not lost, "\n".join(lost)


def rows_of(file, architecture):
    return [
        dict(zip(COLUMNS, map(str, (file, name, f"sm_{architecture}", *numbers)), strict=True))
        for name, *numbers in compiled(file, architecture)
    ]


def version():
    from cupy.cuda import nvrtc

    return ".".join(map(str, nvrtc.getVersion()))


def recorded():
    """(NVRTC's version, rows) of the committed table."""
    first, *lines = TABLE.read_text().splitlines()
    return first.split()[-1], list(csv.DictReader(lines))


def main():
    files = sorted({kernel.file for kernel in table.KERNELS.values()})
    rows = [row for file in files for architecture in architectures() for row in rows_of(file, architecture)]
    with TABLE.open("w", newline="") as stream:
        stream.write(f"# made by tests/cuda/resources.py with NVRTC {version()}\n")
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} instances, {sum(row['spilled_bytes'] != '0' for row in rows)} of them spill")


if __name__ == "__main__":
    main()
