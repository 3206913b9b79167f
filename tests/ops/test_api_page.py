"""docs/api.md is what docs/make_api.py writes today."""

import functools
import importlib.util
import pathlib

import pytest

import minires as mr

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def script():
    specification = importlib.util.spec_from_file_location("make_api", DOCS / "make_api.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_is_current():
    written, wanted = (DOCS / "api.md").read_text("utf-8").splitlines(), script().page().splitlines()
    assert [line for line in wanted if line not in set(written)] == [], "run: python docs/make_api.py"
    assert written == wanted, "run: python docs/make_api.py"


def test_what_the_page_says():
    text = script().page()
    for line in (
        "| `erf(input)` | `mr` `x.` `x._` | yes | f16 f32 f64 int bool |",
        "| `floor(input)` |",
        "`clip` is `clamp`",
        "- `x.numpy()`: ",
        "- `mr.zeros(*size",
        "- `mr.autograd.grad(outputs, inputs,",
    ):
        assert line in text, line  # fmt: skip
    rows = {line.split("`")[1].split("(")[0]: line for line in text.splitlines() if line.startswith("| `")}
    assert "*zero*" in rows["round"] and "| no |" in rows["argmax"] and "| yes |" in rows["matmul"]
    assert "| f16 f32 f64 |" in rows["mean"] and "| int bool |" in rows["bitwise_and"]


TORCH_S_OWN = {  # the machinery of its functions, which no program calls
    "ScalingType", "SwizzleType", "assert_int_or_pair", "boolean_dispatch", "factory_kwargs", "handle_torch_function",
    "has_torch_function", "has_torch_function_unary", "has_torch_function_variadic",
}  # fmt: skip


@pytest.mark.parametrize("path", list(script().MISSING))
def test_what_is_missing_is_said_and_nothing_else(path):
    torch = pytest.importorskip("torch")
    if not torch.__version__.startswith("2.13"):
        pytest.skip("the page speaks of torch 2.13")
    theirs, ours = (functools.reduce(getattr, path.split("."), library) for library in (torch, mr))
    listed = getattr(theirs, "__all__", None) or [name for name in dir(theirs) if not name.startswith("_")]
    public = {
        name for name in listed
        if callable(value := getattr(theirs, name)) and (getattr(value, "__module__", None) or "torch")[:5] == "torch"
    }  # fmt: skip
    found = sorted(name for name in public - TORCH_S_OWN if not hasattr(ours, name))
    assert found == sorted(script().MISSING[path].split())
