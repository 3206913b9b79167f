"""Pascal VOC (Everingham et al. 2010): pictures with a box for each object in XML, or with a class for each pixel."""

import os
from typing import Any

from PIL import Image

from minires.data.datasets.base import AnnotatedPictures, Function, Joint, refuse_download
from minires.data.datasets.plain_xml import Element, read_xml
from minires.data.images import open_image
from minires.data.reading import open_regular_file, read_text, unreadable
from minires.errors import FileFormatError

YEARS = tuple(str(year) for year in range(2007, 2013))
VOC_CLASSES = (
    "__background__", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class _VOC(AnnotatedPictures):
    """A list of names in ImageSets/..., and for each a picture and a file of annotations."""

    sets, targets_folder, suffix = "", "", ""

    def __init__(
        self, root: str | os.PathLike[str], year: str = "2012", image_set: str = "train", download: bool = False,
        transform: Function | None = None, target_transform: Function | None = None, transforms: Joint | None = None,
    ) -> None:  # fmt: skip
        refuse_download(download, root, f"the folder VOCdevkit/VOC{year}")
        super().__init__(root, transforms, transform, target_transform)
        if year not in YEARS:
            raise ValueError(f"year must be one of {', '.join(YEARS)}, got {year!r}")
        allowed = ("train", "trainval", "val", "test") if year == "2007" else ("train", "trainval", "val")
        if image_set not in allowed:
            raise ValueError(f"image_set must be one of {', '.join(allowed)} for {year}, got {image_set!r}")
        above = "TrainVal" if year == "2011" else ""
        folder = os.path.join(root, above, "VOCdevkit", f"VOC{year}")
        path = os.path.join(folder, "ImageSets", self.sets, f"{image_set}.txt")
        names = _names(path)
        self.images = [os.path.join(folder, "JPEGImages", f"{name}.jpg") for name in names]
        self.targets = [os.path.join(folder, self.targets_folder, name + self.suffix) for name in names]

    def __len__(self) -> int:
        return len(self.images)

    def sample_name(self, index: int) -> str:
        """The picture's file, for messages."""
        return self.images[index]


class VOCDetection(_VOC):
    """Pictures of root/VOCdevkit/VOC{year} and what is on them: sample i is (picture, {"annotation": {...}}).

    The dictionary has torchvision's form: text under each element's name, "object" always a list. See
    `transforms.v2.voc_target` for boxes and labels that `transforms.v2` understands.
    Raises DataError for missing files, FileFormatError naming file and byte for broken lists and XML.
    """

    sets, targets_folder, suffix = "Main", "Annotations", ".xml"

    @property
    def annotations(self) -> list[str]:
        """The XML files."""
        return self.targets

    def load(self, index: int) -> tuple[Any, Any]:
        """Picture and annotation of a sample, untouched."""
        return open_image(self.images[index], exif="ignore"), read_voc(self.targets[index])


class VOCSegmentation(_VOC):
    """Sample i is (picture, picture of mode "P" whose pixels are class numbers; 255 is the border, of no class)."""

    sets, targets_folder, suffix = "Segmentation", "SegmentationClass", ".png"

    @property
    def masks(self) -> list[str]:
        """The files of the masks."""
        return self.targets

    def load(self, index: int) -> tuple[Any, Any]:
        """Picture and mask of a sample, untouched."""
        return open_image(self.images[index], exif="ignore"), open_mask(self.targets[index])


def read_voc(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The annotation in an XML file. FileFormatError naming file and place for what is none, and senseless boxes."""
    root = read_xml(path, "VOC annotation")
    if root.tag != "annotation":
        raise FileFormatError(path, None, f"the outermost element is <{root.tag}>, not <annotation>")
    value = _plain(root)
    inside = value if isinstance(value, dict) else {}
    objects = inside.get("object", [])
    inside["object"] = objects if isinstance(objects, list) else [objects]
    for number, found in enumerate(inside["object"]):
        _check_object(path, number, found)
    return {"annotation": inside}


def _plain(element: Element) -> Any:
    """An element's text, or a dictionary of its children; names that come more than once hold a list."""
    if not element.children:
        return element.text
    gathered: dict[str, list[Any]] = {}
    for child in element.children:
        gathered.setdefault(child.tag, []).append(_plain(child))
    return {tag: values[0] if len(values) == 1 else values for tag, values in gathered.items()}


def _check_object(path: str | os.PathLike[str], number: int, found: Any) -> None:
    box = found.get("bndbox") if isinstance(found, dict) else None
    if not isinstance(box, dict) or not isinstance(found.get("name"), str):
        raise FileFormatError(path, None, f"object {number} needs a <name> and a <bndbox>")
    try:
        xmin, ymin, xmax, ymax = (float(box[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(path, None, f"the <bndbox> of object {number} must hold four numbers") from error
    if not (-1e9 < xmin <= xmax < 1e9 and -1e9 < ymin <= ymax < 1e9):
        reason = f"the <bndbox> of object {number} is no box: {(xmin, ymin, xmax, ymax)}"
        raise FileFormatError(path, None, reason)


def _names(path: str) -> list[str]:
    """The first word of each line: names of pictures (a second one, in lists of one class, says if it is there)."""
    names = []
    for number, line in enumerate(read_text(path, "list of pictures").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if "/" in words[0] or "\\" in words[0] or words[0].startswith("."):
            raise FileFormatError(path, None, f"line {number}: {words[0]!r} is no name of a picture"[:300])
        names.append(words[0])
    return names


def open_mask(path: str) -> Image.Image:
    """The palette's numbers as they stand, which `open_image` would turn into colours."""
    try:
        with open_regular_file(path, "mask") as file, Image.open(file, formats=("PNG",)) as image:
            image.load()
            if image.mode not in ("P", "L"):
                raise FileFormatError(path, None, f"a mask holds one class a pixel, this PNG has the mode {image.mode}")
            return image.copy()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise unreadable(path, str(error), "mask") from error
