"""Settings of the losses that make embeddings: --loss arcface, cosface and triplet; and what they do not go with."""

from typing import TYPE_CHECKING, Any

from minires.errors import UsageError

if TYPE_CHECKING:
    from minires.finetune.settings import Settings

MARGINS = {"arcface": 0.5, "cosface": 0.35, "triplet": 0.2}  # the first two are the papers'
EMBEDDING_LOSSES = tuple(MARGINS)
SIZE, SCALE, PER_CLASS = 128, 30.0, 4


def makes_embeddings(settings: "Settings") -> bool:
    """Whether the loss is one of embeddings."""
    return settings.loss in EMBEDDING_LOSSES


def check_embeddings(settings: "Settings") -> None:
    """UsageError for flags that do not go with the loss."""
    own: dict[str, Any] = {"--embedding-size": settings.embedding_size, "--margin": settings.margin,
                           "--loss-scale": settings.loss_scale, "--m-per-class": settings.m_per_class}  # fmt: skip
    if not makes_embeddings(settings):
        for name, value in own.items():
            if value is not None:
                raise UsageError(f"{name} goes with --loss {', '.join(EMBEDDING_LOSSES)}", code="usage.conflict")
        return
    if settings.m_per_class is not None and settings.loss != "triplet":
        raise UsageError("--m-per-class goes with --loss triplet", code="usage.conflict")
    others = {"--smoothing": settings.smoothing, "--mixup and --cutmix": settings.mixup or settings.cutmix,
              "--class-weights": settings.class_weights != "none", "--head": settings.head not in (None, "linear"),
              "--head-dropout": settings.head_dropout}  # fmt: skip
    for name, given in others.items():
        if given:
            raise UsageError(f"{name} does not go with --loss {settings.loss}", code="usage.conflict")
    if settings.loss == "triplet":
        _check_batches(settings)


def _check_batches(settings: "Settings") -> None:
    if settings.sampler != "shuffle":
        raise UsageError("--loss triplet makes its batches itself, of classes that take turns: leave --sampler out",
                         code="usage.conflict")  # fmt: skip
    if settings.grad_accum_steps > 1:
        raise UsageError("--loss triplet looks for triplets in a whole batch: leave --grad-accum-steps out",
                         code="usage.conflict")  # fmt: skip
    each = settings.m_per_class or PER_CLASS
    if settings.batch_size % each or settings.batch_size < 2 * each:
        raise UsageError(f"a batch of --loss triplet is made of classes with {each} pictures each (--m-per-class), two "
                         f"classes at the least: --batch-size {settings.batch_size} is not", code="usage.conflict",
                         hint=f"--batch-size {max(2, settings.batch_size // each) * each}")  # fmt: skip
