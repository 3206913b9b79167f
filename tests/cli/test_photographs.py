"""A folder as users have it: mixed sizes, modes and orientations, one file torn; from the first word to predictions."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from minires import cli
from tests.data.helpers import save
from tests.finetune.helpers import make_weights


def picture(kind: int, width: int, height: int, rng) -> Image.Image:
    """A wide bright band (0), a dark disc (1) or a gradient (2), with noise."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    shapes = (
        np.where(abs(y - y.mean()) < 0.15, 230, 60),
        np.where((x - x.mean()) ** 2 + (y - y.mean()) ** 2 < 0.05, 20, 200),
        255 * x,
    )
    grey = shapes[kind][..., None] * np.array([1.0, 0.9, 0.8]) + rng.normal(0, 15, (height, width, 3))
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


@pytest.fixture
def photographs(tmp_path):
    root = tmp_path / "photos"
    rng = np.random.default_rng(1)
    names = ("band", "disc", "ramp")
    for index in range(90):
        width, height = (int(side) for side in rng.integers(20, 60, 2))
        exif = Image.Exif()
        exif[0x0112] = index // 3 % 8 + 1
        save(picture(index % 3, width, height, rng), root / names[index % 3] / f"IMG_{index:04}.JPG", format="JPEG",
             exif=exif, quality=int(rng.integers(60, 95)))  # fmt: skip
    plain = picture(1, 40, 30, rng)
    save(plain.convert("CMYK"), root / "disc" / "print.jpg")
    save(plain.convert("L"), root / "disc" / "grey.png")
    save(plain.convert("P"), root / "disc" / "palette.png")
    save(plain.convert("RGBA"), root / "disc" / "alpha.png")
    save(Image.fromarray(np.asarray(plain.convert("L")).astype(np.uint16) * 257), root / "disc" / "deep.png")
    torn = save(picture(2, 50, 50, rng), root / "ramp" / "torn.jpg", quality=95)
    torn.write_bytes(torn.read_bytes()[:1500])
    make_weights(tmp_path / "weights")
    return tmp_path


def test_from_folder_to_predictions(photographs, capsys, monkeypatch):
    monkeypatch.chdir(photographs)
    monkeypatch.delenv("MINIRES_DEBUG", raising=False)
    words = ["finetune", "--data", "photos", "--weights", "weights", "--epochs", "2", "--img-size", "16", "-j", "2",
             "--output", "run", "--no-progress"]  # fmt: skip
    assert cli.main(words) == 1
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and "torn.jpg" in err and "skip" in err
    assert not (photographs / "run").exists()

    assert cli.main([*words, "--on-bad-image", "skip"]) == 0
    out, err = capsys.readouterr()
    assert "unreadable: 1" in err and "CMYK 1" in err and "I;16 1" in err and "EXIF orientation" in err
    rows = list(csv.DictReader((photographs / "run" / "splits.csv").read_text().splitlines()))
    assert len(rows) == 95 and not any("torn" in row["path"] for row in rows)
    known = json.loads((photographs / "run" / "data.json").read_text())
    assert list(known["scan"]["unreadable"]) == ["photos/ramp/torn.jpg"]

    assert cli.main(["predict", "run", "photos", "--recursive", "--format", "csv"]) == 3
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 96 and "torn.jpg" in err
    assert cli.main(["evaluate", "run", "--split", "test"]) == 0
