"""One small run of `minires finetune`, shared by the tests of the command line."""

import pytest

from tests.cli.helpers import minires
from tests.finetune.helpers import make_photos, make_weights


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder with photos/, weights/ and run/, and the process that made the run."""
    place = tmp_path_factory.mktemp("cli")
    make_photos(place / "photos")
    make_weights(place / "weights")
    words = ["finetune", "--data", "photos", "--weights", "weights", "--epochs", "4", "-b", "8", "--lr", "0.02",
             "--patience", "0", "--output", "run"]  # fmt: skip
    answer = minires(*words, cwd=place)
    assert answer.returncode == 0, answer.stderr.decode()
    return place, answer
