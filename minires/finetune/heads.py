"""Heads: the last layers of a model, which turn its features into class scores or numbers.

A trained model is reused by taking its head off and putting a new one on: `replace_head(model, 5)` for five classes,
`replace_head(model, 5, hidden=(1024, 1024))` for two hidden layers between.
"""

from collections.abc import Sequence
from typing import Any

from minires import nn
from minires.errors import UsageError
from minires.nn import Module


def parse_head(text: str | None) -> tuple[int, ...]:
    """Sizes of the hidden layers in "1024,1024"; none for "linear". Raises UsageError for anything else."""
    if text is None or text == "linear":
        return ()
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise UsageError(f'--head is "linear" or sizes of hidden layers such as 1024,1024; got {text!r}',
                         code="usage.value")  # fmt: skip
    return sizes


def build_head(in_features: int, out_features: int, hidden: Sequence[int] = (), dropout: float = 0.0) -> Module:
    """A head from `in_features` features to `out_features` scores (classification) or numbers (regression).

    Without `hidden`, one linear layer. With hidden = (h1, h2, ...): Linear, ReLU, Dropout(`dropout`) for each, then the
    linear layer; dropout 0 leaves the Dropout layers out. Raises ValueError for sizes below 1.
    """
    if min([in_features, out_features, *hidden]) < 1:
        raise ValueError(f"sizes of a head must be at least 1, got {in_features}, {tuple(hidden)}, {out_features}")
    layers: list[Module] = []
    width = in_features
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = size
    output = nn.Linear(width, out_features)
    return nn.Sequential(*layers, output) if layers else output


def replace_head(model: Any, out_features: int, hidden: Sequence[int] = (), dropout: float = 0.0) -> Module:
    """Give `model` a new head for `out_features` classes or numbers, and return the head. The rest stays as it is.

    `model` is any model with `num_features` and `reset_head(module)`.
    """
    head = build_head(model.num_features, out_features, hidden, dropout)
    reference = next(model.parameters())
    model.reset_head(head.to(reference.device, reference.dtype).train(model.training))
    return head


def last_linear(model: Any) -> nn.Linear:
    """The linear layer that the outputs come from."""
    layers = [layer for part in model.stages()["head"] for layer in part.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise ValueError("the model's head has no linear layer")
    return layers[-1]
