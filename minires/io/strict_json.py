"""JSON for state that must come back exactly, and JSON for reports. Neither ever holds NaN or Infinity.

JSON knows no NaN, no infinity, no tuple and no key that is not text, and Python's `json` silently changes or writes
all four. `dumps` marks them so that `loads` gives back what was given: {"$float": "nan"}, {"$tuple": [...]},
{"$pairs": [[key, value], ...]}. `report` is for people and scripts: null, and a list of what was not finite.
"""

import json
import math
from typing import Any

import numpy as np


def dumps(value: Any) -> str:
    """`value` (None, bool, int, float, str, list, tuple, dict, NumPy numbers) as strict JSON text.

    Raises TypeError naming the place of anything else: arrays belong among the tensors.
    """
    return json.dumps(_mark(value, "state"), allow_nan=False)


def loads(text: str) -> Any:
    """What `dumps` was given. Raises ValueError for malformed text."""
    try:
        return json.loads(text, object_hook=_unmark, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error


def report(value: dict[str, Any]) -> str:
    """A dictionary as JSON for scripts: a number that is not finite becomes null, and "not_finite" lists where."""
    places: list[str] = []
    cleaned = _clean(value, "", places)
    if places:
        cleaned["not_finite"] = places
    return json.dumps(cleaned, indent=2, allow_nan=False, ensure_ascii=True) + "\n"


def _mark(value: Any, place: str) -> Any:
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, list):
        return [_mark(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": _mark(list(value), place)}
    if isinstance(value, dict):
        marked = [[_mark(key, place), _mark(item, f"{place}[{key!r}]")] for key, item in value.items()]
        plain = all(isinstance(key, str) and not key.startswith("$") for key in value)
        return dict(marked) if plain else {"$pairs": marked}
    raise TypeError(f"{place} is of type {type(value).__name__}, which JSON cannot hold")


def _unmark(found: dict[str, Any]) -> Any:
    match found:
        case {"$float": ("nan" | "inf" | "-inf") as text} if len(found) == 1:
            return float(text)
        case {"$tuple": list(items)} if len(found) == 1:
            return tuple(items)
        case {"$pairs": list(pairs)} if len(found) == 1:
            return {key: value for key, value in pairs}  # noqa: C416 - each pair must have exactly two items
    unknown = [key for key in found if key.startswith("$")]
    if unknown:
        raise ValueError(f"unknown mark {unknown[0]!r} in JSON")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _clean(value: Any, place: str, places: list[str]) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        places.append(place)
        return None
    if isinstance(value, list | tuple):
        return [_clean(item, f"{place}.{index}".lstrip("."), places) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {str(key): _clean(item, f"{place}.{key}".lstrip("."), places) for key, item in value.items()}
    return value
