"""COCO's annotations (cocodataset.org/#format-data): one JSON file with "images", "annotations" and "categories"."""

import json
import math
import os
from typing import Any

from minires.data.datasets.base import AnnotatedPictures, Function, Joint
from minires.data.images import open_image
from minires.data.reading import read_bytes
from minires.errors import FileFormatError


class CocoDetection(AnnotatedPictures):
    """Pictures of the folder `root` and their annotations in `annFile`: sample i is (picture, [annotation, ...]).

    An annotation is the dictionary of the file: "bbox" (x, y, width, height), "category_id", "segmentation", ...; see
    `transforms.v2.coco_target` for boxes and labels that `transforms.v2` understands. `ids`: numbers of the pictures,
    sorted; `categories`: names by "category_id".

    Raises FileFormatError that names the file and the byte, or the entry, for what is no JSON or not COCO's: missing
    keys, numbers used twice, annotations of unknown pictures, boxes that are not four finite numbers, file names that
    lead out of `root`.
    """

    def __init__(
        self, root: str | os.PathLike[str], annFile: str | os.PathLike[str],
        transform: Function | None = None, target_transform: Function | None = None, transforms: Joint | None = None,
    ) -> None:  # fmt: skip
        super().__init__(root, transforms, transform, target_transform)
        self.path = os.fspath(annFile)
        found = _load(self.path)
        self.images = _by_number(self.path, found, "images")
        for number, image in self.images.items():
            _check_name(self.path, number, image.get("file_name"))
        self.ids = sorted(self.images)
        categories = _by_number(self.path, found, "categories", optional=True)
        self.categories = {number: entry.get("name", str(number)) for number, entry in categories.items()}
        self.annotations: dict[int, list[dict[str, Any]]] = {number: [] for number in self.ids}
        for number, annotation in _by_number(self.path, found, "annotations").items():
            picture = annotation.get("image_id")
            if type(picture) is not int or picture not in self.annotations:
                reason = f"annotation {number} is of the unknown picture {picture!r}"[:300]
                raise FileFormatError(self.path, None, reason)
            _check_box(self.path, number, annotation)
            self.annotations[picture].append(annotation)

    def __len__(self) -> int:
        return len(self.ids)

    def sample_name(self, index: int) -> str:
        """The picture's file, for messages."""
        return os.path.join(self.root, self.images[self.ids[index]]["file_name"])

    def load(self, index: int) -> tuple[Any, Any]:
        """Picture and annotations of a sample, untouched."""
        return open_image(self.sample_name(index), exif="ignore"), list(self.annotations[self.ids[index]])


class CocoCaptions(CocoDetection):
    """As CocoDetection, of captions_*.json: sample i is (picture, [caption, ...])."""

    def load(self, index: int) -> tuple[Any, Any]:
        """Picture and captions of a sample, untouched."""
        picture, annotations = super().load(index)
        for annotation in annotations:
            if not isinstance(annotation.get("caption"), str):
                raise FileFormatError(self.path, None, f"annotation {annotation['id']} has no caption")
        return picture, [annotation["caption"] for annotation in annotations]


def _load(path: str) -> dict[str, Any]:
    content = read_bytes(path, "COCO file")

    def refuse(word: str) -> None:
        raise FileFormatError(path, None, f"{word} is no number of JSON")

    try:
        found = json.loads(content, parse_constant=refuse)
    except json.JSONDecodeError as error:
        offset = len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))
        raise FileFormatError(path, offset, f"no JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise FileFormatError(path, error.start, "text that is not valid UTF-8") from error
    except RecursionError as error:
        raise FileFormatError(path, None, "JSON nested too deeply") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise FileFormatError(path, None, f"no JSON: {error}") from error
    if type(found) is not dict:
        raise FileFormatError(path, None, f"the file holds a {type(found).__name__}, not COCO's dictionary")
    return found


def _by_number(path: str, found: dict[str, Any], key: str, optional: bool = False) -> dict[int, dict[str, Any]]:
    """The entries of a list by their "id", in the list's order."""
    entries = found.get(key, [] if optional else None)
    if type(entries) is not list:
        raise FileFormatError(path, None, f"it has no list {key!r}")
    numbered: dict[int, dict[str, Any]] = {}
    for place, entry in enumerate(entries):
        number = entry.get("id") if type(entry) is dict else None
        if type(number) is not int:
            raise FileFormatError(path, None, f"{key}[{place}] has no whole number as its 'id'")
        if number in numbered:
            raise FileFormatError(path, None, f"{key}[{place}] has the id {number} of another")
        numbered[number] = entry
    return numbered


def _check_name(path: str, number: int, name: Any) -> None:
    if type(name) is not str or not name or "\0" in name:
        raise FileFormatError(path, None, f"the picture {number} has no 'file_name'")
    parts = name.replace("\\", "/").split("/")
    if os.path.isabs(name) or ":" in parts[0] or ".." in parts:
        raise FileFormatError(
            path, None, f"the 'file_name' of picture {number} leads out of the folder: {name!r}"[:300]
        )


def _check_box(path: str, number: int, annotation: dict[str, Any]) -> None:
    if "bbox" not in annotation:
        return
    box = annotation["bbox"]
    good = type(box) is list and len(box) == 4 and all(type(value) in (int, float) for value in box)
    if not good or not all(abs(value) < 1e9 and math.isfinite(value) for value in box) or min(box[2:]) < 0:
        reason = f"the bbox of annotation {number} must be x, y, width, height, got {box!r}"[:300]
        raise FileFormatError(path, None, reason)
