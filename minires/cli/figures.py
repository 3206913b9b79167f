"""Figures and their 95 % confidence intervals in the cells of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

UNKNOWN = ["-", "-"]  # a figure whose interval the pictures cannot tell, or one of an earlier version's run


def cell(value: Any) -> str:
    """One figure."""
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def interval_cells(metrics: Mapping[str, Any], name: str) -> list[str]:
    """The ends of the interval of one figure."""
    interval = (metrics.get("intervals") or {}).get(name)
    return UNKNOWN if interval is None else [f"{end:.4f}" for end in interval]


def interval_rows(metrics: Mapping[str, Any], names: Sequence[str]) -> list[list[str]]:
    """Two rows under the figures `names`: where their intervals begin and end. None where nothing is known of any."""
    if not any((metrics.get("intervals") or {}).get(name) for name in names):
        return []
    cells = [interval_cells(metrics, name) for name in names]
    return [["  95 % from", *(low for low, _ in cells)], ["  to", *(high for _, high in cells)]]
