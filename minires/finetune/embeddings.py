"""Models that give embeddings: pictures of one class lie near each other, whether the training has seen it or not.

The head is a row of three layers, whose names are in every model's config:

    Linear         pooled features to `size` numbers
    L2Normalize    the embedding: a vector of length 1
    CosineLinear   scale * cosine with a direction for each class

ArcFace and CosFace learn the directions with the rest. A triplet loss knows no classes but those of a batch: there the
directions are the means of the classes' embeddings ("prototypes", Snell et al. 2017), made anew before each validation.
A new class is a new direction: the mean of the embeddings of a few pictures of it, without any training.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import inference_mode
from minires.backend import move
from minires.explain.retrieval import nearest, normalised
from minires.nn.fuse import InferenceModel
from minires.tensor import Tensor
from minires.training.batches import inputs_and_targets
from minires.training.evaluation import evaluating
from minires.training.statistics import AfterTraining
from minires.training.trainer import Trainer

SIZE, SCALE = 128, 30.0


def embedding_head(features: int, classes: int, size: int = SIZE, scale: float = SCALE) -> nn.Sequential:
    """The head: features (N, features) to scores (N, classes) by way of embeddings (N, size)."""
    return nn.Sequential(nn.Linear(features, size), nn.L2Normalize(), nn.CosineLinear(size, classes, scale))


def directions(model: Any) -> nn.CosineLinear:
    """The last layer, whose rows are the classes' directions. ValueError for a model without such a head."""
    head = model.get_submodule(model.head_name)
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    if not isinstance(layers[-1], nn.CosineLinear):
        raise ValueError(f"{model.config['name']} has no head for embeddings: it ends with {type(layers[-1]).__name__}")
    return layers[-1]


def head_of_embeddings(model: Any) -> nn.Sequential | None:
    """The layers before the directions, which make embeddings of pooled features; None for a model without them.

    model: may be one that is compiled for inference, too.
    """
    model = model.model if isinstance(model, InferenceModel) else model
    return model.get_submodule(model.head_name)[:-1] if gives_embeddings(model) else None


def gives_embeddings(model: Any) -> bool:
    """Whether a model ends in such a head."""
    head = model.get_submodule(model.head_name) if hasattr(model, "head_name") else None
    return isinstance(head, nn.Sequential) and len(head) > 1 and isinstance(head[-1], nn.CosineLinear)


def width_of(model: Any) -> int:
    """Numbers of an embedding, or of the pooled features of a model that gives none."""
    return directions(model).in_features if gives_embeddings(model) else model.num_features


def embed(model: Any, images: Tensor) -> Tensor:
    """Embeddings (N, size) of pictures (N, C, H, W), with their gradient."""
    directions(model)  # which says what is wrong with the model
    pooled = model.forward_head(model.forward_features(images), pre_logits=True)
    return model.get_submodule(model.head_name)[:-1](pooled)


@contextlib.contextmanager
def noted_embeddings(model: Any) -> Iterator[list[np.ndarray]]:
    """Within the block a list that grows by the embeddings (N, size) of every batch that the model is shown.

    It stays empty for a model that gives none.
    """
    rows: list[np.ndarray] = []
    if not gives_embeddings(model):
        yield rows
        return

    def note(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        rows.append(np.array(move(arguments[0].array, "cpu")))

    handle = directions(model).register_forward_pre_hook(note)
    try:
        yield rows
    finally:
        handle.remove()


def embed_all(
    model: Any, batches: Iterable[Any], between: Callable[[], None] = lambda: None
) -> tuple[np.ndarray, np.ndarray]:
    """(embeddings (N, size), class numbers (N,)) of all pictures of the batches, in eval mode."""
    device = next(model.parameters()).device
    rows, labels = [], []
    with evaluating(model):
        for batch in batches:
            images, targets = inputs_and_targets(batch, device)
            rows.append(np.asarray(move(embed(model, images).array, "cpu")))
            labels.append(np.asarray(move(targets.array, "cpu")))
            between()
    if not rows:
        raise ValueError("there are no pictures to embed")
    return np.concatenate(rows), np.concatenate(labels)


def class_means(embeddings: Any, labels: Any, classes: int) -> np.ndarray:
    """Directions (classes, size): the mean of the embeddings of each class, of length 1; zeros without a picture."""
    rows, labels = np.asarray(embeddings, np.float64), np.asarray(labels)
    sums = np.zeros((classes, rows.shape[1]))
    np.add.at(sums, labels, rows)
    return normalised(sums)


def set_class_means(model: Any, batches: Iterable[Any], between: Callable[[], None] = lambda: None) -> None:
    """Make the model's directions the means of its classes' embeddings over the batches (pictures, class numbers)."""
    layer = directions(model)
    means = class_means(*embed_all(model, batches, between), layer.out_features)
    with inference_mode():
        layer.weight.array[...] = Tensor(means.astype(layer.weight.dtype)).to(layer.weight.device).array
    layer.weight.bump_version()


class ClassMeans(AfterTraining):
    """`set_class_means`, before every validation and at the end of an epoch without one."""

    order = 4  # after the averaged weights are in the model and batch norm's statistics made anew (Reestimate: 3)

    def make(self, trainer: Trainer, batches: Iterable[Any], between: Callable[[], None]) -> None:
        set_class_means(trainer.model, batches, between)


class OnEmbeddings:
    """A loss of embeddings, in the place of a loss of scores: `loss(embeddings, targets)` for what a Trainer calls.

    The embeddings are those of the model's last forward. Outside of training it is the cross entropy of the scores, so
    that the two are to be told apart: see make_losses.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], model: Any) -> None:
        self.loss, self.reduction = loss, getattr(loss, "reduction", "mean")
        self._embeddings: Tensor | None = None
        directions(model).register_forward_pre_hook(self._note)

    def _note(self, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self._embeddings = arguments[0]

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self._embeddings is None or len(self._embeddings) != len(outputs):
            raise RuntimeError("a loss of embeddings was called without the model's forward before it")
        embeddings, self._embeddings = self._embeddings, None
        return self.loss(embeddings, targets)


# ------------------------------------------------------------------------------------------------- without training


def add_directions(model: Any, new: Any) -> None:
    """New classes behind the known ones: `new` (n, size) are their directions, of any length. The others stay."""
    layer = directions(model)
    rows = np.atleast_2d(np.asarray(new))
    if rows.shape[1] != layer.in_features:
        raise ValueError(f"embeddings of this model have {layer.in_features} numbers, not {rows.shape[1]}")
    longer = nn.CosineLinear(layer.in_features, layer.out_features + len(rows), layer.scale).to(layer.weight)
    every = np.concatenate([move(layer.weight.array, "cpu"), rows.astype(layer.weight.dtype)])
    longer.weight.array[...] = Tensor(every).to(layer.weight.device).array
    longer.train(layer.training).requires_grad_(layer.weight.requires_grad)
    model.get_submodule(model.head_name)[-1] = longer


class Gallery:
    """Pictures by what they are called, and their embeddings (N, size): which of them are nearest to another one?"""

    def __init__(self, names: Sequence[str], embeddings: Any) -> None:
        self.names, self.embeddings = list(names), normalised(embeddings)
        if len(self.names) != len(self.embeddings):
            raise ValueError(f"{len(self.names)} names for {len(self.embeddings)} embeddings")

    def nearest(self, embedding: Any, count: int = 5) -> list[tuple[str, float]]:
        """(name, cosine) of the pictures nearest to an embedding (size,), the nearest first; at most `count`."""
        places, cosines = nearest(np.asarray(embedding)[None], self.embeddings, min(count, len(self.names)))
        return [(self.names[place], float(cosine)) for place, cosine in zip(places[0], cosines[0], strict=True)]
