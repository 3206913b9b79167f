"""`minires finetune --folds 5`: a training for each part of the pictures, and one table of what they come to."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from minires.cli import output
from minires.errors import UsageError

if TYPE_CHECKING:
    from minires.finetune.folds import Folds


def run(name: str, values: Mapping[str, Any], json_wanted: bool, say: Callable[[str], None], progress: bool) -> int:
    """Cross-validate with the settings in `values`, whose entry "folds" is the number of parts."""
    from minires.finetune.folds import cross_validate

    settings = dict(values)
    text = settings.pop("folds")
    try:
        count = int(text)
    except ValueError as error:
        raise UsageError(f"--folds takes the number of parts, got {text!r}", code="usage.value") from error
    if "accept_data_change" in settings:
        raise UsageError("--accept-data-change does not go with --folds", code="usage.conflict")
    found = cross_validate(count, name, say=say, progress=progress, **settings)
    if json_wanted:
        output.result_json(found.to_dict())
    else:
        output.result(last_screen(found))
    return 0


def last_screen(found: "Folds") -> str:
    """Mean and spread of each figure, and where everything is."""
    rows = [[f"{len(found.runs)} folds, {found.pictures} pictures", "mean", "spread", "lowest", "highest"]]
    rows += [[row["figure"], *(f"{row[name]:.4f}" for name in ("mean", "spread", "lowest", "highest"))]
             for row in found.table()]  # fmt: skip
    lines = [output.table(rows)]
    interval = found.to_dict()["top1_interval"]
    if interval is not None:
        lines.append(f"{found.right} of {found.pictures} pictures were called right by the model that had not been "
                     f"trained on them; 95 % interval {interval[0]:.4f} to {interval[1]:.4f}")  # fmt: skip
    doubtful = os.path.join(found.path, "review.csv")  # only classes have it
    more = f"; doubtful labels: {doubtful}" if os.path.exists(doubtful) else ""
    lines += [f"predictions: {os.path.join(found.path, 'predictions.csv')}{more}",
              f"next:        train on all pictures, or minires predict {found.runs[0]} PICTURE..."]  # fmt: skip
    return "\n".join(lines)
