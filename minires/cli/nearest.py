"""`minires predict ... --nearest FOLDER`: in the place of classes, the pictures of a folder that are most alike.

Pictures are alike whose features point into the same direction: the embeddings of a model trained with --loss arcface,
cosface or triplet, and of others the pooled features that the head is given.
"""

from typing import Any

import numpy as np

from minires.cli import output
from minires.cli.answers import Words
from minires.errors import DataError
from minires.finetune.embeddings import Gallery
from minires.finetune.inference import Prediction, find_pictures, predict
from minires.finetune.loading import LoadedModel


def gallery_of(loaded: LoadedModel, folder: str, batch_size: int) -> Gallery:
    """All pictures in a folder and those below it. One that cannot be read is left out with a warning.

    UsageError for a folder without pictures, DataError if none can be read.
    """
    names, rows = [], []
    for prediction in predict(loaded, find_pictures([folder], recursive=True), batch_size, features=True):
        if prediction.error is not None:
            output.say(f"warning: {output.one_line(prediction.error.message)}")
        elif prediction.features is not None:
            names.append(prediction.path)
            rows.append(prediction.features)
    if not rows:
        raise DataError(f"no picture in {folder} could be read", code="data.empty", file=folder)
    return Gallery(names, np.stack(rows))


class NearestPictures(Words):
    """Answers that are pictures of a gallery, the nearest first, and their cosines."""

    def __init__(self, gallery: Gallery, topk: int) -> None:
        self.gallery, self.topk = gallery, min(topk, len(gallery.names))

    def _found(self, prediction: Prediction) -> list[tuple[str, float]]:
        return self.gallery.nearest(prediction.features, self.topk)

    def line(self, prediction: Prediction) -> str:
        return "  ".join(f"{name} {cosine:.3f}" for name, cosine in self._found(prediction))

    def columns(self) -> list[str]:
        return [name for rank in range(1, self.topk + 1) for name in (f"nearest_{rank}", f"cosine_{rank}")]

    def cells(self, prediction: Prediction) -> list[str]:
        return [cell for name, cosine in self._found(prediction) for cell in (name, f"{cosine:.6f}")]

    def record(self, prediction: Prediction) -> dict[str, Any]:
        return {"nearest": [{"path": name, "cosine": cosine} for name, cosine in self._found(prediction)]}
