"""Sample pictures of a report under mixup and cutmix: mixed as in training, with the shares of their labels."""

import re

import numpy as np
import pytest

from minires.finetune import finetune
from minires.finetune.mixed_samples import mixed, shared_label
from minires.finetune.settings import Settings
from minires.finetune.tasks import Classification, MultiLabel
from minires.random import philox
from minires.tensor import Tensor
from minires.training import Mixing
from tests.finetune.helpers import make_photos, make_weights

CLASSES = ["a", "b", "c"]


def pictures(count):
    return [Tensor(np.full((3, 4, 4), index, np.float32)) for index in range(count)]


@pytest.mark.parametrize("more", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_every_third_picture_is_mixed_as_the_steps_mix(more):
    settings = Settings(data="d", **more)
    targets = [0, 1, 2, 0, 1, 2, 0]
    images, words = mixed(pictures(7), targets, Classification(CLASSES), settings)
    assert len(images) == len(words) == 7
    for step in range(3):
        places = list(range(step, 7, 3))
        batch = Tensor(np.stack([pictures(7)[place].array for place in places]))
        labels = Tensor(np.array([targets[place] for place in places]))
        expected, shares = Mixing(3, **more).mix(batch, labels, philox(settings.seed, "mixing", step))
        for row, place in enumerate(places):
            np.testing.assert_allclose(images[place].array, expected.array[row])
            assert words[place] == shared_label(shares.numpy()[row], CLASSES)


def test_a_single_picture_stays_and_several_labels_are_shared():
    settings = Settings(data="d", mixup=1.0)
    images, words = mixed(pictures(1), [2], Classification(CLASSES), settings)
    assert words == ["c"] and np.array_equal(images[0].array, pictures(1)[0].array)
    rows = [np.array(row, np.float32) for row in ([1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1])]
    _, words = mixed(pictures(4), rows, MultiLabel(CLASSES), settings)
    assert re.fullmatch(r"\d+% [abc](, \d+% [abc])*", words[0]) and words[1] == "b"


def test_the_words():
    assert shared_label(np.array([0.25, 0.0, 0.75]), CLASSES) == "75% c, 25% a"


def test_a_report_shows_them(tmp_path):
    make_photos(tmp_path / "photos")
    make_weights(tmp_path / "weights")
    given = {"data": str(tmp_path / "photos"), "weights": str(tmp_path / "weights"), "epochs": 1, "batch_size": 8}
    finetune(**given, mixup=1.0, cutmix=1.0, output=str(tmp_path / "run"))
    page = (tmp_path / "run" / "report.html").read_text()
    assert re.search(r"\d+% (blue|green|red), \d+% (blue|green|red)", page)
