"""Coverage-guided fuzzing of one reader:  python -m tests.fuzz.run_atheris READER [-max_total_time=60 ...]

Needs atheris (`pip install atheris`, wheels for Linux), which is no dependency of the tests; options after the reader
are libFuzzer's. It starts from the sound files and the corpus; new contents that reach new code go to
tests/fuzz/corpus/READER only when a person copies them from the folder printed at the start. A content that makes a
fault is written to crash-... in that folder, the traceback is printed, and the exit status is not 0.
"""

import pathlib
import sys
import tempfile

from tests.fuzz.readers import READERS, check, corpus


def main(words: list[str]) -> None:
    if not words or words[0] not in READERS:
        sys.exit(f"usage: python -m tests.fuzz.run_atheris {{{','.join(READERS)}}} [-max_total_time=SECONDS ...]")
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris")
    reader, options = words[0], words[1:]
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"fuzz-{reader}-"))
    for number, (_, data) in enumerate(corpus(reader)):
        (folder / f"seed-{number}").write_bytes(data)
    print(f"contents in {folder}", flush=True)
    atheris.instrument_all()
    limits = ["-rss_limit_mb=2048", "-timeout=10", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *limits, *options, str(folder)], lambda data: check(reader, data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
