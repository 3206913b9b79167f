"""The table of kernels against the .cu files, and the rules of launching."""

import pathlib
import re

import pytest

from minires.kernels.cuda import launch, loader, source, table
from minires.kernels.cuda.table import KERNELS, Argument

SIGNATURE = re.compile(
    r"^(?:template <([^>]*)>\s*)?__global__ void __launch_bounds__\((?:[^()]|\([^()]*\))*\)\s*(\w+)\(([^)]*)\)",
    re.MULTILINE,
)
FILES = sorted({kernel.file for kernel in KERNELS.values()})


def declared(parameter):
    """An argument as its C++ declaration has it; whether it may be missing, the declaration does not say."""
    words = re.sub(r"__restrict__|\*", " ", parameter).split()
    if "*" not in parameter:
        return Argument(words[-1], " ".join(words[:-1]))
    is_input = words[0] == "const"
    return Argument(words[-1], " ".join(words[is_input:-1]), "in" if is_input else "out")


def signatures(file):
    text = re.sub(r"//[^\n]*", "", source.read(file))
    return {name: (template, parameters) for template, name, parameters in SIGNATURE.findall(text)}


@pytest.mark.parametrize("file", FILES)
def test_every_kernel_of_a_file_is_in_the_table(file):
    assert set(signatures(file)) == {kernel.name for kernel in KERNELS.values() if kernel.file == file}
    assert source.read(file).count("__global__") == len(signatures(file))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=list(KERNELS))
def test_arguments_are_those_of_the_signature(kernel):
    template, parameters = signatures(kernel.file)[kernel.name]
    found = [declared(parameter) for parameter in parameters.split(",")]
    wanted = [
        Argument(a.name, a.type, a.direction and ("in" if a.direction == "in" else "out")) for a in kernel.arguments
    ]
    assert found == wanted
    count = len(template.split(",")) if template else 0
    assert all(len(launch.template_arguments(instance)) == count for instance in kernel.instances)
    assert len(set(kernel.instances)) == len(kernel.instances)


def test_arguments_are_parsed():
    assert table.parse("in T x, in? long long y, inout float z, float eps") == (
        Argument("x", "T", "in"),
        Argument("y", "long long", "in", True),
        Argument("z", "float", "inout"),
        Argument("eps", "float"),
    )


@pytest.mark.parametrize("file", FILES)
def test_every_file_says_what_it_does(file):
    opening = source.read(file).split("#include")[0]
    assert all(line.startswith("//") for line in opening.strip().splitlines())
    assert "Launch:" in opening and "Bytes:" in opening


def test_lines_are_short():
    folder = pathlib.Path(source.__file__).parent
    files = [*folder.glob("*.cu*"), *(pathlib.Path(__file__).parent / "emulator").rglob("*.*")]
    lines = [(path.name, n, line) for path in files for n, line in enumerate(path.read_text().splitlines(), 1)]
    assert len(files) > 20 and [(name, n) for name, n, line in lines if len(line) > 120] == []


def test_includes_are_put_in_once_and_keep_line_numbers():
    text = source.expanded("batch_norm.cu")
    assert '#include "' not in text and text.count("struct Place") == 1
    lines = source.read("batch_norm.cu").splitlines()
    number = lines.index('#include "common.cuh"') + 2
    assert f'#line {number} "batch_norm.cu"\n{lines[number - 1]}' in text


@pytest.mark.parametrize(("channels", "vector", "tile"), [(64, 8, 8), (3, 1, 4), (2048, 8, 32), (1, 1, 1)])
def test_tiles(channels, vector, tile):
    assert launch.tile_of(channels, vector) == tile


def test_splits_cover_the_rows():
    for rows in (1, 7, 1000, 802816):
        for channels, vector in ((64, 8), (2048, 8), (3, 1)):
            per_split = launch.rows_per_split(rows, channels, vector, 132)
            assert per_split * launch.over(rows, per_split) >= rows
            assert launch.over(rows, per_split) <= 65535


def has_gpu():
    try:
        import cupy
    except ImportError:
        return False
    return cupy.cuda.is_available()


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_without_cupy_or_gpu_one_clear_line():
    with pytest.raises(RuntimeError, match=r"CUDA needs CuPy: pip install|finds none") as error:
        loader.run("softmax_rows", "float", {}, {})
    assert "\n" not in str(error.value)
