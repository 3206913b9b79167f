"""The training pipeline of torchvision's references, written with Pillow and torch: the peer of ours in cpu.py."""

import math
import pathlib
import random

import numpy as np
import torch
from PIL import Image

MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def crop_box(width: int, height: int) -> tuple[int, int, int, int]:
    """A random area of 8 to 100 % with a ratio of 3/4 to 4/3; the middle if ten tries find none."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1.0)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2


class PillowFolder(torch.utils.data.Dataset):
    """Decode, RandomResizedCrop(224), flip, to a tensor, normalise."""

    def __init__(self, folder: str) -> None:
        classes = sorted(path for path in pathlib.Path(folder).iterdir() if path.is_dir())
        self.samples = [(path, index) for index, place in enumerate(classes) for path in sorted(place.iterdir())]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        with path.open("rb") as file:
            picture = Image.open(file).convert("RGB")
        picture = picture.crop(crop_box(*picture.size)).resize((224, 224), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        values = torch.from_numpy(np.array(picture, copy=True)).permute(2, 0, 1).contiguous().float().div(255)
        return values.sub_(MEAN).div_(STD), label


def loader_of(dataset: PillowFolder, batch: int, workers: int) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(dataset, batch, shuffle=True, num_workers=workers, persistent_workers=True)
