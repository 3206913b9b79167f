"""How much of a model is trained: a line for each stage."""

from typing import Any

from minires.finetune.freezing import stage_modules


def parameter_report(model: Any) -> dict[str, dict[str, int]]:
    """Stage, and "all", -> {"trained": numbers with a gradient, "total": all numbers, "bytes": of the trained}."""
    rows = {name: _count([each for module in modules for each in module.parameters()])
            for name, modules in stage_modules(model).items()}  # fmt: skip
    return {**rows, "all": _count(list(model.parameters()))}


def _count(parameters: list[Any]) -> dict[str, int]:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return {
        "trained": sum(parameter.numel() for parameter in trained),
        "total": sum(parameter.numel() for parameter in parameters),
        "bytes": sum(parameter.array.nbytes for parameter in trained),
    }
