"""The model files of tests/models/ported/, which say torch, as modules that say something else."""

import pathlib
import re
import types

FILES = {path.name.partition(".")[0]: path
         for path in sorted((pathlib.Path(__file__).parent / "ported").glob("*.py.txt"))}  # fmt: skip


def load(name: str, word: str) -> types.ModuleType:
    """The program as a module, with `word` for torch."""
    module = types.ModuleType(f"{name}_{word}")
    exec(compile(re.sub(r"\btorch\b", word, FILES[name].read_text("utf-8")), FILES[name].name, "exec"), module.__dict__)
    return module
