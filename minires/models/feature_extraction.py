"""torchvision.models.feature_extraction: the names of a model's layers, and their outputs."""

from typing import Any

from minires.models.base import ImageModel
from minires.models.features import POOLED, FeatureExtractor, create_feature_extractor, shown_zeros

__all__ = ["FeatureExtractor", "create_feature_extractor", "get_graph_node_names"]


def get_graph_node_names(model: ImageModel) -> tuple[list[str], list[str]]:
    """What `create_feature_extractor` can give of a model of the zoo, in order of calls: (training, evaluation).

    The two are the same here. Found by showing the model one picture of zeros. A layer that is called again has _1, _2
    behind its name, as in torchvision; operations that are no layers (additions) have no names, "flatten" but for: it
    stands before the head. Layers that hold others (layer1, layer1.0) are not listed, and can be had all the same.
    """
    calls: dict[str, int] = {}
    names: list[str] = []
    paths = {module: path for path, module in model.named_modules() if path and not list(module.children())}
    head = model.get_submodule(model.head_name)

    def note(module: Any, arguments: Any, output: Any) -> None:
        path = paths[module]
        calls[path] = calls.get(path, -1) + 1
        names.append(f"{path}_{calls[path]}" if calls[path] else path)

    def note_head(module: Any, arguments: Any) -> None:
        names.append(POOLED)

    handles = [module.register_forward_hook(note) for module in paths]
    handles.append(head.register_forward_pre_hook(note_head))
    try:
        shown_zeros(model, model, 96)
    finally:
        for handle in handles:
            handle.remove()
    return names, list(names)
