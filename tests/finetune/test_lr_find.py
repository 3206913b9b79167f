"""The learning-rate finder: its rule on curves of known shape, a search on pictures, and its command."""

import json
import math

import pytest

from minires import cli
from minires.errors import UsageError
from minires.finetune.lr_find import lr_find, smooth, suggest
from tests.finetune.helpers import make_photos, make_weights

RATES = [10 ** (-6 + 6 * step / 99) for step in range(100)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("lr")
    make_photos(place / "photos")
    make_weights(place / "weights")
    return place


def test_the_middle_of_a_fall():
    """From 2 at 1e-4 to 1 at 1e-2, straight on a logarithmic axis, then up: the middle is 1e-3."""
    losses = [2 - min(max((math.log10(rate) + 4) / 2, 0), 1) + max(0, 10 * (math.log10(rate) + 1.5)) for rate in RATES]
    assert suggest(RATES, smooth(losses)) == pytest.approx(1e-3, rel=0.15)


@pytest.mark.parametrize("losses", [[2.0] * 100, [2 + step / 10 for step in range(100)], [2.0] * 99 + [1.95]])
def test_no_fall_no_suggestion(losses):
    assert suggest(RATES, smooth(losses)) is None


def test_smoothing_keeps_a_straight_line():
    assert smooth([1, 2, 3, 4, 5, 6]) == [1, 2, 3, 4, 5, 6] and smooth([]) == []


def test_a_search_leaves_nothing_behind_and_gives_the_same_again(place):
    settings = {"data": str(place / "photos"), "weights": str(place / "weights"), "batch_size": 8}
    before = sorted(place.rglob("*"))
    found = lr_find(steps=40, highest=10.0, **settings)
    assert found.rates[0] == pytest.approx(1e-6) and found.rates == sorted(found.rates) and len(found.losses) > 20
    ratios = [b / a for a, b in zip(found.rates, found.rates[1:], strict=False)]
    assert max(ratios) == pytest.approx(min(ratios))
    assert 1e-5 < found.suggestion < 1 and sorted(place.rglob("*")) == before
    assert found == lr_find(steps=40, highest=10.0, **settings)
    assert found.to_csv().count("\n") == len(found.rates) + 1 and "suggestion" in found.chart().svg()


@pytest.mark.parametrize("more", [{"mixup": 0.4}, {"l2_sp": 100.0, "opt": "sgd"}, {"sam": 0.5}])
def test_the_search_trains_as_the_job_would(place, more):
    """What changes the steps of the job changes the curve; the first loss is that of the untouched model."""
    settings = {"data": str(place / "photos"), "weights": str(place / "weights"), "batch_size": 8, "steps": 12}
    plain = lr_find(**settings, highest=0.1, **({"opt": "sgd"} if "opt" in more else {}))
    found = lr_find(**settings, highest=0.1, **more)
    assert found.losses[-1] != plain.losses[-1]
    assert (found.losses[0] == plain.losses[0]) == ("mixup" not in more)


def test_a_loss_that_explodes_ends_it(place):
    found = lr_find(data=str(place / "photos"), weights=str(place / "weights"), batch_size=8, opt="sgd", steps=60,
                    highest=1e12)  # fmt: skip
    assert len(found.rates) < 60 and ("rose to" in found.ended or "not finite" in found.ended)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"lowest": 0.0}, "grow from above 0"), ({"lowest": 2.0}, "grow from"), ({"steps": 3}, "at least 10"),
     ({"lr": 0.1}, "--lr is what"), ({"lr_base": 0.1}, "--lr-base is what"), ({"epoch": 1}, "did you mean")],
)  # fmt: skip
def test_senseless_wishes(place, wrong, message):
    with pytest.raises(UsageError, match=message):
        lr_find(data=str(place / "photos"), weights=str(place / "weights"), **wrong)


def test_the_command(place, capsys):
    words = [
        "lr-find",
        "--data",
        str(place / "photos"),
        "--weights",
        str(place / "weights"),
        "-b",
        "8",
        "--steps",
        "30",
    ]
    assert cli.main([*words, "--output", str(place / "lr.svg"), "-q"]) == 0
    assert capsys.readouterr().out.startswith("--lr ") and "<svg" in (place / "lr.svg").read_text()
    assert cli.main([*words, "--json", "--output", str(place / "lr.png")]) == 0
    assert len(json.loads(capsys.readouterr().out)["rates"]) <= 30
    assert cli.main([*words, "--output", "lr.txt"]) == 2
    assert "ends in .svg, .png or .csv" in capsys.readouterr().err
