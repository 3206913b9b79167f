"""Jobs with a loss of embeddings: their head, losses, batches, and the classes' directions to begin with."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from minires import nn
from minires.data import DataLoader, MPerClassSampler
from minires.errors import UsageError
from minires.explain.retrieval import retrieval_figures
from minires.finetune.embedding_settings import MARGINS, PER_CLASS, SCALE, SIZE, makes_embeddings
from minires.finetune.embeddings import ClassMeans, OnEmbeddings, embedding_head, set_class_means
from minires.finetune.settings import Settings
from minires.finetune.workers import loader_workers
from minires.random import philox
from minires.training import Callback

if TYPE_CHECKING:
    from minires.finetune.job import Job

MOST_PICTURES = 5000  # that are compared with each other: all pairs are looked at


def head_for(model: Any, settings: Settings, classes: int) -> nn.Module:
    """The head of a job whose loss makes embeddings."""
    size, scale = settings.embedding_size or SIZE, settings.loss_scale or SCALE
    return embedding_head(model.num_features, classes, size, scale)


def embedding_losses(settings: Settings, model: Any) -> tuple[Any, Any]:
    """(training, validation) loss: for validation cross entropy of the scores, without a margin."""
    margin = MARGINS[str(settings.loss)] if settings.margin is None else settings.margin
    if settings.loss == "triplet":
        return OnEmbeddings(nn.BatchHardTripletLoss(margin), model), nn.CrossEntropyLoss()
    kind = nn.ArcFaceLoss if settings.loss == "arcface" else nn.CosFaceLoss
    return kind(margin, settings.loss_scale or SCALE), nn.CrossEntropyLoss()


def batches_of_classes(settings: Settings, targets: Any, steps: int) -> MPerClassSampler | None:
    """The order of the training pictures for a triplet loss, `steps` batches of them; None for other losses."""
    if settings.loss != "triplet":
        return None
    each, classes = settings.m_per_class or PER_CLASS, len(np.unique(targets))
    if settings.batch_size // each > classes:
        raise UsageError(f"a batch of {settings.batch_size} with {each} pictures of each class (--m-per-class) needs "
                         f"{settings.batch_size // each} classes, and there are {classes}", code="usage.conflict",
                         hint=f"--batch-size {classes * each}")  # fmt: skip
    return MPerClassSampler(targets, each, settings.batch_size, steps * settings.batch_size)


def means_callback(job: "Job") -> list[Callback]:
    """A triplet loss trains no directions: they are the means of the classes, made anew before each validation."""
    return [ClassMeans(plain_loader(job))] if job.settings.loss == "triplet" else []


def start_directions(job: "Job") -> None:
    """Give every class the mean of its embeddings as the direction to begin with."""
    if makes_embeddings(job.settings):
        set_class_means(job.model, plain_loader(job))


def plain_loader(job: "Job") -> DataLoader:
    """The training pictures as they are prepared for evaluation."""
    plain, settings = copy.copy(job.splits["train"]), job.settings
    plain.transform = job.preprocessing
    workers = loader_workers(settings.workers, settings.worker_type, plain)
    return DataLoader(plain, settings.validation_batch_size or settings.batch_size, **workers)


def figures_of_embeddings(rows: list[np.ndarray], labels: np.ndarray) -> dict[str, Any]:
    """recall_at_1, recall_at_5 and map_at_r; of more than MOST_PICTURES pictures so many, always the same, count."""
    every = np.concatenate(rows)
    if len(every) > MOST_PICTURES:
        chosen = np.sort(philox(0, "retrieval").permutation(len(every))[:MOST_PICTURES])
        every, labels = every[chosen], labels[chosen]
    return {**retrieval_figures(every, labels), "embedding_pictures": len(every)}
