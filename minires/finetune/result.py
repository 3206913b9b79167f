"""What a job has come to, and what of it is kept in the run's folder."""

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

from minires.io import RunFolder, files
from minires.training.curves import history_chart

HEADLINES = {
    "done": "done: all epochs",
    "early-stopped": "done: stopped early, no improvement any more",
}


@dataclass
class Result:
    """What a job has come to. `before`, `after`: figures on the split `split` with the first and the best weights."""

    command: str
    path: str
    model_path: str
    split: str
    before: dict[str, Any]
    after: dict[str, Any]
    best_epoch: int
    epochs_done: int
    history: list[dict[str, Any]]
    status: str  # "done", "early-stopped", or "paused" (--max-steps, --max-time): then it can be resumed
    headline: str
    old_task: dict[str, Any] | None = None  # with --from: what became of the earlier classes (old_task.py)

    @property
    def resumable(self) -> bool:
        """Whether steps are left to be made."""
        return self.status == "paused"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def write_curves(folder: RunFolder, history: list[dict[str, Any]]) -> None:
    """plots/curves.svg and .png, as soon as there is an epoch to show."""
    chart = history_chart(history)
    if chart is not None:
        files.make_folder(folder.plots)
        files.write_atomic(os.path.join(folder.plots, "curves.svg"), chart.svg())
        files.write_atomic(os.path.join(folder.plots, "curves.png"), chart.png())


def finished(folder: RunFolder) -> Result | None:
    """The result of a run that has ended, None if steps are left."""
    if not os.path.isfile(folder.file("metrics.json")):
        return None
    figures = folder.read_json("metrics.json")
    if figures.get("status") not in ("done", "early-stopped"):
        return None
    names = {field.name for field in dataclasses.fields(Result)}
    result = Result(**{name: value for name, value in figures.items() if name in names})
    result.path, result.model_path = folder.path, folder.model
    return result
