"""`minires finetune --compare`: several trainings side by side, and one table of what they come to."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minires.cli import output
from minires.cli.figures import cell
from minires.errors import UsageError

if TYPE_CHECKING:
    from minires.finetune.comparison import Comparison


def run(name: str, values: Mapping[str, Any], json_wanted: bool, quiet: bool, progress: bool) -> int:
    """Compare with the settings in `values`, whose entry "compare" is the number of seeds ("": the usual number)."""
    from minires.finetune.comparison import compare

    if name != "finetune":
        raise UsageError(f"minires {name} cannot compare", code="usage.conflict", hint="minires finetune --compare")
    settings = dict(values)
    seeds = _number(settings.pop("compare"))
    say = (lambda text: None) if quiet else output.say
    comparison = compare(seeds, say=say, progress=progress, **settings)
    if json_wanted:
        output.result_json(comparison.to_dict())
    else:
        output.result(last_screen(comparison))
    return 0


def _number(text: Any) -> int | None:
    try:
        return None if text == "" else int(text)
    except ValueError as error:
        raise UsageError(f"--compare takes the number of seeds, got {text!r}", code="usage.value") from error


def last_screen(comparison: "Comparison") -> str:
    """The table, where the curves and the model are, and what to type next."""
    from minires.finetune.compared import title_of

    first, seeds, figure = comparison.runs[0], comparison.seeds, comparison.figure
    rows = [[f"{first.split} pictures ({first.after['samples']})", title_of(figure), "spread", "seconds a run"]]
    rows += [[row["variant"], cell(row[figure]), cell(row["spread"]),
              "-" if row["seconds"] is None else f"{row['seconds']:.1f}"] for row in comparison.table()]  # fmt: skip
    several = f"mean and standard deviation of {len(seeds)} seeds ({seeds[0]} to {seeds[-1]})"
    lines = [
        several if len(seeds) > 1 else f"one seed ({seeds[0]})", output.table(rows),
        f"curves:     {comparison.path}/curves.svg and .png; every figure: comparison.csv and .json",
        f"model:      {comparison.model_path}/model",
        f"next:       minires predict {comparison.model_path} PICTURE...",
    ]  # fmt: skip
    return "\n".join(lines)
