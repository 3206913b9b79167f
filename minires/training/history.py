"""History: one row of figures an epoch.

A row is a dictionary such as {"epoch": 3, "step": 300, "loss": 0.41, "accuracy": 0.87, "val_loss": 0.52, "lr": 0.01}.
Rows hold nothing that depends on the clock, so that the history of an interrupted and resumed run is equal, bit for
bit, to that of an uninterrupted one.
"""

import csv
import io
from collections.abc import Iterator
from typing import Any


class History:
    """The rows of the finished epochs, in order. `history["val_loss"]` is a column, `history.rows[-1]` the last row."""

    def __init__(self, rows: list[dict[str, Any]] | None = None) -> None:
        self.rows: list[dict[str, Any]] = [dict(row) for row in rows or []]

    def append(self, row: dict[str, Any]) -> None:
        """Add the row of the next epoch; an epoch that already has a row is an error, never a second row."""
        if self.rows and row["epoch"] <= self.rows[-1]["epoch"]:
            raise ValueError(f"history has a row for epoch {self.rows[-1]['epoch']} already, got epoch {row['epoch']}")
        self.rows.append(dict(row))

    def columns(self) -> list[str]:
        """Names of all columns, in the order in which they first appeared."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __getitem__(self, column: str) -> list[Any]:
        """One column, None where a row has no such figure (an epoch without validation)."""
        if column not in self.columns():
            raise KeyError(f"history has no column {column!r}; it has {', '.join(self.columns()) or 'no rows yet'}")
        return [row.get(column) for row in self.rows]

    def __contains__(self, column: str) -> bool:
        return column in self.columns()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"History({len(self)} epochs: {', '.join(self.columns())})"

    def to_csv(self) -> str:
        """The table as CSV text: one header, one line an epoch, floats with all their digits."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=self.columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def state_dict(self) -> dict[str, Any]:
        """The rows, as plain numbers."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace all rows by the stored ones; rows of epochs after the checkpoint are gone."""
        self.rows = [dict(row) for row in state["rows"]]
