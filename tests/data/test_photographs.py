"""A folder as users have it: mixed sizes, modes and orientations, one torn file; from the scan to the batches."""

import numpy as np
import pytest
from PIL import Image

from minires.data import DataLoader, folder_splits, preset_eval, preset_train, scan
from minires.errors import DataError
from tests.data.helpers import noise, save


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(60):
        width, height = (int(side) for side in rng.integers(30, 90, 2))
        folder = tmp_path / ("beach", "forest", "street")[index % 3]
        exif = Image.Exif()
        exif[0x0112] = index % 8 + 1
        save(noise(width, height, seed=index), folder / f"IMG_{index:04}.JPG", format="JPEG", exif=exif)
    save(noise(50, 40, "CMYK"), tmp_path / "beach" / "print.jpg")
    save(noise(50, 40, "L"), tmp_path / "forest" / "grey.jpg")
    save(noise(50, 40).convert("P"), tmp_path / "forest" / "palette.gif")
    save(noise(50, 40, "RGBA"), tmp_path / "street" / "alpha.png")
    save(Image.fromarray(np.arange(2000, dtype=np.uint16).reshape(40, 50) * 32), tmp_path / "street" / "grey16.png")
    torn = save(noise(80, 80), tmp_path / "street" / "torn.jpg")
    torn.write_bytes(torn.read_bytes()[:3000])
    return tmp_path


def test_from_scan_to_batches(root):
    preset = preset_eval(resize=36, crop=32)
    splits = folder_splits(root, val_split=0.2, test_split=0, train_transform=preset_train(32), eval_transform=preset)
    report = scan(splits, verify=True)
    assert report.modes == {"RGB": 60, "CMYK": 1, "L": 1, "P": 1, "RGBA": 1, "I;16": 1}
    assert list(report.unreadable) == [str(root / "street" / "torn.jpg")]
    with pytest.raises(DataError, match=r"torn\.jpg"):
        report.check()
    assert sum(dataset.exclude(report.unreadable) for dataset in splits.values()) == 1
    runs = []
    for workers in (0, 3):
        loader = DataLoader(splits["train"], 8, shuffle=True, num_workers=workers)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert all(images.shape[1:] == (3, 32, 32) and np.isfinite(images.array).all() for images, _ in batches)
        runs.append([(images.array.tobytes(), targets.tolist()) for images, targets in batches])
    assert runs[0] == runs[1]
    assert sum(len(targets) for _, targets in runs[0]) == len(splits["train"]) == 65 - len(splits["val"])
    for path, target in splits["val"].samples[:5]:
        assert preset.load(path).shape == (3, 32, 32) and splits["val"].classes[target] in path
