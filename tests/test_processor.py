"""Which matrix kernels are asked for, and that nothing of the user's is overridden."""

import os
import subprocess
import sys

import pytest

from minires import processor

ALL = processor.AVX512 | {"avx2", "fma"}
REPORT = """
import os, threadpoolctl
library = next(l for l in threadpoolctl.threadpool_info() if l["internal_api"] == "openblas")
print(library["architecture"], library["num_threads"], os.environ.get("OPENBLAS_CORETYPE"))
"""


@pytest.mark.parametrize(
    ("flags", "machine", "core"),
    [
        (ALL, "x86_64", "SkylakeX"), (ALL, "AMD64", "SkylakeX"), (ALL, "aarch64", None),
        (frozenset(), "x86_64", None), *[(ALL - {missing}, "x86_64", None) for missing in processor.AVX512],
    ],
)  # fmt: skip
def test_only_a_processor_with_every_instruction_gets_them(flags, machine, core):
    assert processor.best_core(frozenset(flags), machine) == core


def test_what_one_processor_lacks_the_machine_lacks(monkeypatch):
    text = "processor: 0\nflags\t\t: avx2 avx512f\nmodel: x\n\nprocessor: 1\nflags\t\t: avx2\n"
    monkeypatch.setattr(processor.pathlib.Path, "read_text", lambda *_: text)
    assert processor.flags() == {"avx2"}


def test_no_listing(monkeypatch):
    def missing(*_):
        raise FileNotFoundError

    monkeypatch.setattr(processor.pathlib.Path, "read_text", missing)
    assert processor.flags() == frozenset()


def test_it_is_taken_away_again(monkeypatch):
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.setattr(processor, "best_core", lambda _: "SkylakeX")
    environment = {}
    with processor.prepare(environment) as core:
        assert core == environment["OPENBLAS_CORETYPE"] == "SkylakeX"
    assert environment == {}
    theirs = {"OPENBLAS_CORETYPE": "Haswell"}
    with processor.prepare(theirs) as core:
        assert core is None and theirs == {"OPENBLAS_CORETYPE": "Haswell"}


def test_too_late(monkeypatch):
    monkeypatch.setattr(processor, "best_core", lambda _: "SkylakeX")
    environment = {"MINIRES_THREADS": "1"}
    with processor.prepare(environment) as core:
        assert core is None and environment == {"MINIRES_THREADS": "1"}


def test_threads(monkeypatch):
    assert processor.thread_setting({}) is None
    assert processor.thread_setting({"MINIRES_THREADS": "3"}) == "3"
    assert processor.thread_setting({"MINIRES_THREADS": "3", "OMP_NUM_THREADS": "1"}) is None
    for wrong in ("0", "two", "-1", "", "1.5"):
        with pytest.raises(ValueError, match="MINIRES_THREADS"):
            processor.thread_setting({"MINIRES_THREADS": wrong})
    monkeypatch.delitem(sys.modules, "numpy")
    environment = {"MINIRES_THREADS": "3", "OPENBLAS_CORETYPE": "Haswell"}
    with processor.prepare(environment):
        assert environment["OPENBLAS_NUM_THREADS"] == "3"


@pytest.mark.skipif(not processor.flags() >= processor.AVX512, reason="this processor has no AVX-512")
def test_in_a_new_process():
    free = {name: value for name, value in os.environ.items()
            if name not in (processor.CORE, *processor.THREAD_VARIABLES)}  # fmt: skip

    def answer(first: str, **variables: str) -> list[str]:
        words = [sys.executable, "-c", first + REPORT]
        return subprocess.run(
            words, env={**free, **variables}, capture_output=True, text=True, check=True
        ).stdout.split()

    assert answer("import minires", MINIRES_THREADS="1") == ["SkylakeX", "1", "None"]
    assert answer("import minires", OPENBLAS_CORETYPE="Haswell", OMP_NUM_THREADS="1") == ["Haswell", "1", "Haswell"]
