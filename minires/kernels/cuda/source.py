"""The text of a .cu file with its own headers put in place: NVRTC looks for them in folders, a wheel may have none."""

import functools
import importlib.resources
import re
from collections.abc import Mapping

INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)


@functools.cache
def read(name: str) -> str:
    """The text of one file of this folder."""
    return importlib.resources.files("minires.kernels.cuda").joinpath(name).read_text("utf-8")


def expanded(name: str, others: Mapping[str, str] | None = None) -> str:
    """The text of `name` in which each `#include "x.cuh"` stands replaced by that file, at its first mention.

    #line directives keep file names and line numbers right in messages. `others` gives texts that take the place of
    files of these names.
    """
    seen: set[str] = set()

    def text_of(part: str) -> str:
        text = (others or {}).get(part) or read(part)
        text = text.replace("#pragma once\n", "\n")

        def put_in(match: re.Match[str]) -> str:
            if match[1] in seen:
                return ""
            seen.add(match[1])
            following = text.count("\n", 0, match.start()) + 2
            return f'{text_of(match[1])}\n#line {following} "{part}"'

        return f'#line 1 "{part}"\n' + INCLUDE.sub(put_in, text)

    return text_of(name)
