"""docs/errors.md lists every code that the source can give, and no other."""

import ast
import re

from tests.cli.helpers import ROOT

ALONE = {"error", "data", "usage", "memory", "internal"}  # the codes without a dot
CODE = re.compile(r"[a-z]+(\.[a-z_]+)?")


def codes_in(text: str) -> set[str]:
    """Strings that are given as `code`: a keyword, a variable or attribute, the default of an argument."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        values = []
        variable = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code"
        if variable or (isinstance(node, ast.keyword) and node.arg == "code"):
            values = [node.value]
        elif isinstance(node, ast.FunctionDef):
            plain = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            pairs = [*zip(plain, node.args.defaults, strict=True),
                     *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]  # fmt: skip
            values = [default for argument, default in pairs if argument.arg == "code"]
        constants = [part for value in values if value is not None for part in ast.walk(value)
                     if isinstance(part, ast.Constant) and isinstance(part.value, str)]  # fmt: skip
        found |= {part.value for part in constants if CODE.fullmatch(part.value)}
    return found


def test_the_search_finds_them():
    text = 'class A:\n    code = "a.b"\ndef f(x, code="c.d", *, y=1): raise E("m", code="e" if x else "f.g")'
    assert codes_in(text) == {"a.b", "c.d", "e", "f.g"}


def test_the_page_lists_every_code_and_no_other():
    source = set().union(*(codes_in(path.read_text(encoding="utf-8")) for path in (ROOT / "minires").rglob("*.py")
                           if "kernels" not in path.parts))  # fmt: skip
    source = {code for code in source if "." in code or code in ALONE}
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").partition("## Codes")[2]
    listed = re.findall(r"^\| `([a-z_.]+)` \| \S", page, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert sorted(source - set(listed)) == [], "codes that the page does not explain"
    assert sorted(set(listed) - source) == [], "codes that no error has"
