"""TOML (toml.io) out and in, for flat tables such as args.toml: text, numbers, booleans, lists and small tables."""

import math
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from minires.errors import FileFormatError
from minires.io import files

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def dumps(table: Mapping[str, Any]) -> str:
    """`table` as TOML text, one line an entry. None has no form in TOML: such entries are left out.

    Raises TypeError naming the key of a value that is not text, a number, a boolean, a list or a table of these.
    """
    return "".join(f"{_key(key)} = {_value(value, key)}\n" for key, value in table.items() if value is not None)


def load_file(path: files.PathLike) -> dict[str, Any]:
    """The table in a TOML file. Raises FileFormatError with the parser's line and column."""
    try:
        return tomllib.loads(files.read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FileFormatError(path, None, f"not valid TOML: {error}") from error


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _value(value: Any, place: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else str(float(value))
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item, place) for item in value) + "]"
    if isinstance(value, Mapping):
        entries = (f"{_key(key)} = {_value(item, f'{place}.{key}')}" for key, item in value.items() if item is not None)
        return "{" + ", ".join(entries) + "}"
    raise TypeError(f"{place} is of type {type(value).__name__}, which TOML cannot hold")


def _text(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(letter) or _visible(letter) for letter in text) + '"'


def _visible(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 32 or ord(letter) == 127 else letter
