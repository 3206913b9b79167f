"""The house of the design: its floors, the size of its files, what importing it costs and what it never touches."""

import ast
import os
import pathlib
import re
import subprocess
import sys
import warnings

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "minires").rglob("*.py"))

FLOORS = {
    "processor": 0, "observe": 0, "backend": 0, "random": 0, "errors": 0, "version": 0, "plots": 0,
    "number_types": 0,
    "kernels": 1,
    "autograd": 2, "placement": 2, "methods": 2, "conversion": 2, "in_place": 2, "tensor": 2, "gradcheck": 2,
    "ops": 3,
    "cuda": 3,
    "nn": 4, "optim": 4, "jit": 4, "fx": 4, "linalg": 4,
    "amp": 5, "models": 5, "data": 5, "backends": 5, "io": 5, "onnx": 5, "utils": 6, "hub": 6,
    "training": 6, "finetune": 6, "explain": 6, "report": 6, "profiler": 6,
    "cli": 7,
}  # fmt: skip
ROOF = 8  # minires/__init__.py, which gathers the public names, and minires/__main__.py
FORBIDDEN = ("torch", "torchvision", "tensorflow", "jax")


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def floor_of(module: str) -> int:
    parts = module.split(".")
    if parts == ["minires"] or parts[1] == "__main__":
        return ROOF
    assert parts[1] in FLOORS, f"{module} stands on no floor: add it to the table in {__file__}"
    return FLOORS[parts[1]]


def imported_by(node: ast.AST, modules=MODULES, package: str = "") -> list[str]:
    """Modules that one import statement names; `from package import module` names the module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
        return [f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base for alias in node.names]
    return []


def package_of(module: str) -> str:
    is_package = MODULES[module].name == "__init__.py"
    return module if is_package else module.rpartition(".")[0]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def import_statements(node: ast.AST, inside_functions: bool):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif is_type_checking(child):
            continue
        elif inside_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from import_statements(child, inside_functions)


def imports(module: str, inside_functions: bool) -> set[str]:
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    found = set()
    for statement in import_statements(tree, inside_functions):
        found.update(imported_by(statement, MODULES, package_of(module)))
    return found


def upward_imports(edges: dict[str, set[str]]) -> list[str]:
    return [
        f"{module} (floor {floor_of(module)}) imports {other} (floor {floor_of(other)})"
        for module, others in edges.items()
        for other in sorted(others)
        if other.split(".")[0] == "minires" and floor_of(other) > floor_of(module)
    ]


def find_circle(edges: dict[str, set[str]]) -> list[str]:
    """One circle of imports as a list of modules, [] if there is none."""
    finished: set[str] = set()

    def walk(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in finished or module not in edges:
            return []
        for other in sorted(edges[module]):
            if circle := walk(other, [*trail, module]):
                return circle
        finished.add(module)
        return []

    for module in edges:
        if circle := walk(module, []):
            return circle
    return []


def test_there_are_sources():
    assert len(MODULES) > 20
    assert all(floor_of(module) >= 0 for module in MODULES)


def test_no_module_imports_from_a_floor_above():
    assert upward_imports({module: imports(module, inside_functions=True) for module in MODULES}) == []


def test_no_circles():
    assert find_circle({module: imports(module, inside_functions=False) for module in MODULES}) == []


def test_the_checks_of_floors_and_circles_can_fail():
    assert upward_imports({"minires.kernels.cpu": {"minires.nn"}})
    assert upward_imports({"minires.training.trainer": {"minires"}}), "the package's root is the roof"
    assert not upward_imports({"minires.nn.layers": {"minires.ops", "numpy"}})
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    statement = ast.parse("from . import b").body[0]
    assert imported_by(statement, {"p.b": None}, "p") == ["p.b"]


def test_never_imports_another_framework():
    culprits = [
        (module, other)
        for module in MODULES
        for other in imports(module, inside_functions=True)
        if other.split(".")[0] in FORBIDDEN
    ]
    assert culprits == []


def test_every_folder_of_sources_is_a_package():
    """setup.cfg's `packages = find:` leaves out folders without __init__.py, and the installed copy breaks."""
    assert [str(path.parent) for path in SOURCES if not (path.parent / "__init__.py").exists()] == []


TOUCHING = {"write_text", "write_bytes", "touch", "savefig", "fdopen", "memmap", "fromfile", "tofile", "genfromtxt"}
TOUCHING_OF = {
    "os": {"open", "replace", "rename", "unlink", "remove", "mkdir", "makedirs", "fsync", "rmdir", "truncate"},
    "np": {"save", "load", "savez", "savez_compressed", "savetxt", "loadtxt"},
    "shutil": {"copy", "copyfile", "copytree", "move", "rmtree"},
}


def file_accesses(tree: ast.AST) -> list[int]:
    """Lines of the calls that touch a file, such as open(...), os.replace(...) or path.write_text(...)."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name("open"):
                lines.append(node.lineno)
            case ast.Attribute(ast.Name(owner), name) if name in TOUCHING_OF.get(owner, ()):
                lines.append(node.lineno)
            case ast.Attribute(_, name) if name in TOUCHING:
                lines.append(node.lineno)
    return lines


def test_one_place_touches_files():
    """All file access goes through minires.io.files, so that the fault shim of tests/io reaches every writer."""
    found = {module: file_accesses(ast.parse(path.read_text("utf-8"))) for module, path in MODULES.items()}
    assert found.pop("minires.io.system")
    assert {module: lines for module, lines in found.items() if lines} == {}


@pytest.mark.parametrize("line", ["open('x')", "os.replace(a, b)", "path.write_text('x')", "np.save(f, a)"])
def test_the_check_of_file_access_can_fail(line):
    assert file_accesses(ast.parse(line)) == [1]
    assert file_accesses(ast.parse("Image.open(stream); files.read_text(path); model.load(x)")) == []


@pytest.mark.filterwarnings("default::UserWarning")
def test_files_are_short():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > 600} == {}
    long = {name: length for name, length in lengths.items() if length > 300}
    if long:
        warnings.warn(f"files above 300 lines: {long}", stacklevel=1)


IMPORT = """
import sys, time
start = time.process_time()  # a busy machine does not count
import minires
seconds = time.process_time() - start
optional = ("torch", "cupy", "sklearn", "matplotlib", "scipy", "onnx", "mpi4py", "h5py")
print(seconds, *(name for name in optional if name in sys.modules))
"""


@pytest.mark.timeout(60)
def test_import_is_quick_and_needs_nothing_optional(tmp_path):
    """From bytecode, as an installed copy has it: the first import writes it, into a folder of the test's own."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path)
    command, seconds = [sys.executable, "-c", IMPORT], []
    for _ in range(4):
        answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)
        assert answer.returncode == 0, answer.stderr
        figure, *unwanted = answer.stdout.split()
        assert unwanted == []
        seconds.append(float(figure))
        if min(seconds) < 0.5:
            break
    assert min(seconds) < 0.5, f"import minires took {seconds} s"


def text_files() -> list[pathlib.Path]:
    suffixes = {".py", ".md", ".toml", ".cfg", ".txt", ".json", ".sh", ".yml", ".yaml", ".cu", ".cuh", ".csv"}
    folders = [folder for name in ("minires", "tests", "examples", "docs", "benchmarks", "scripts", "tools", ".ci")
               if (folder := ROOT / name).is_dir()]  # fmt: skip
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    found += [path for path in ROOT.iterdir() if path.is_file()]
    return [path for path in found if path.suffix in suffixes or path.parent.name == ".ci"]


MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|farm|root|opt/wheels|opt/pypi)/|bash_[j]obs")


def test_no_paths_of_one_machine():
    files = text_files()
    assert len(files) > 20
    assert [str(path) for path in files if MACHINE_PATH.search(path.read_text("utf-8", "replace"))] == []


def test_the_check_of_paths_can_fail():
    assert MACHINE_PATH.search("see " + "/".join(["", "work", "main"]))
    assert not MACHINE_PATH.search("/".join(["home", "work", "pictures"]) + ", runs/finetune-1 and /etc/hosts")
