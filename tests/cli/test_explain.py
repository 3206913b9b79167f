"""minires explain: a picture of each picture, and what is refused."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from minires import cli


@pytest.fixture
def here(finished, monkeypatch):
    monkeypatch.chdir(finished[0])


def test_a_file_for_each_picture_that_can_be_read(here, tmp_path, capsys):
    (tmp_path / "torn.png").write_bytes(b"nothing")
    words = ["explain", "run", "photos/red/1.png", str(tmp_path / "torn.png"), "photos/blue/1.png"]
    output = str(tmp_path / "maps")
    assert cli.main([*words, "--output", output, "--way", "grad-cam,guided,occlusion", "--json"]) == 3
    out, err = capsys.readouterr()
    found = json.loads(out)["pictures"]
    assert "torn.png" in err and [one["path"] for one in found] == ["photos/red/1.png", "photos/blue/1.png"]
    assert sorted(os.listdir(output)) == ["0001-1.png", "0002-1.png"]
    assert cli.main(["predict", "run", "photos/red/1.png", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)[0]["predictions"][0]
    assert found[0]["label"] == said["label"] and found[0]["prob"] == pytest.approx(said["prob"], rel=1e-5)
    with Image.open(found[0]["file"]) as figure:
        assert figure.width == 4 * figure.height >= 4 * 224
        parts = np.split(np.asarray(figure.convert("RGB"), np.float64), 4, axis=1)
    assert parts[0].std(axis=2).max() > 5, "the picture has its colours"
    for part in parts[1:]:
        assert (part[..., 0] > part[..., 1] + 20).any(), "something speaks for the class"
        assert np.ptp(part[..., 0] - part[..., 1]) > 20, "and not everything alike"


def test_another_class(here, tmp_path, capsys):
    words = ["explain", "run", "photos/red/1.png", "--output", str(tmp_path / "maps")]
    assert cli.main([*words, "--class", "blue"]) == 0
    assert "photos/red/1.png: blue " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "give --output"), (["--output", "m", "--way", "lime"], "one or more of grad-cam, guided, occlusion"),
     (["--output", "m", "--class", "rad"], "no class 'rad'; did you mean red?")],
)  # fmt: skip
def test_what_is_refused(here, capsys, words, message):
    assert cli.main(["explain", "run", "photos/red/1.png", *words]) == 2
    assert message in capsys.readouterr().err and not os.path.exists("m")
