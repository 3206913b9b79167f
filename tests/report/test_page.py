"""The page: names that try to be markup, its size, and how a real browser takes it."""

import html.parser
import re

import numpy as np
import pytest

from minires.data import preset_eval
from minires.data.transforms import preset_caffe
from minires.explain.calibration import calibration
from minires.explain.flow import LayerFlow
from minires.report import Facts, Sample, render
from minires.report.facts import Review
from minires.report.markup import Html, tag, text
from minires.report.pictures import heated, visible
from tests.report.browser import find_browser, visit

HOSTILE = ["</script><script>document.title='taken'</script>", "<img src=http://127.0.0.1:9/x onerror=alert(1)>",
           '"><svg onload=alert(1)>', "&lt;b&gt; é 日本", "\udcff\x00\x1b[31m", "javascript:alert(1)"]  # fmt: skip
RNG = np.random.default_rng(0)


def facts(classes, pictures=40, side=224) -> Facts:
    """A run of `classes` with hostile names in every place that shows a name."""
    count = len(classes)
    truth = np.arange(pictures) % count
    matrix = RNG.integers(0, 5, (count, count))
    metrics = {"samples": pictures, "loss": 0.5, "top1": 0.75, "intervals": {"top1": [0.6, 0.9], "loss": None}}
    smooth = np.kron(RNG.random((side // 8, side // 8, 3)), np.ones((8, 8, 1))) * 255

    def samples(heat):
        return [
            Sample(classes[i % count], smooth.astype(np.uint8), [f"is {classes[i % count]}"], heat) for i in range(12)
        ]

    return Facts(
        title=f"finetune: {classes[0]}", status="done", split="test", classes=classes, before=metrics, after=metrics,
        best_epoch=2, epochs=3, seed=1, history=[{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}],
        counts={classes[0]: dict.fromkeys(classes, 3)}, notes=[classes[0]], augmented=samples(None), confusion=matrix,
        calibration=calibration(np.full((4, 2), 0.5), [0, 1, 0, 1]), temperature=(2.0, 1.0, 0.9, "val"),
        mistakes=samples(RNG.random((side, side))), review_file=True,
        review=[Review(name, name, name, name) for name in classes] * 30,
        embedding=(RNG.random((pictures, 2)), truth, np.array([0.5, 0.2])),
        signals=[LayerFlow(classes[i % count], 0.0, 1.0 + i, 0.5, 0.1 + i) for i in range(20)],
        model={classes[0]: classes[1]}, settings={"data": classes[0], "list": classes}, versions={"numpy": "2"},
    )  # fmt: skip


class Elements(html.parser.HTMLParser):
    """Names of all elements, and all attributes."""

    def __init__(self, page):
        super().__init__()
        self.names, self.attributes = [], []
        self.feed(page)

    def handle_starttag(self, name, attributes):
        self.names.append(name)
        self.attributes += attributes


@pytest.mark.parametrize("count", [6, 40])
def test_no_name_becomes_markup(count):
    classes = (HOSTILE * 7)[:count]
    page = render(facts(classes))
    assert page.encode("utf-8"), "no half of a surrogate pair is left"
    found = Elements(page)
    assert not {"script", "iframe", "object", "link", "base", "form", "a"} & set(found.names)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    sources = [value for name, value in found.attributes if name in ("src", "href", "xlink:href")]
    assert sources and all(value.startswith("data:image/") for value in sources)
    assert not re.search("[\x00-\x08\x0b\x1b]", page) and "taken" in page


def test_a_full_page_can_be_mailed():
    noise = facts([f"class {i}" for i in range(1000)], pictures=1500)
    noise.confusion = np.zeros((1000, 1000), int)
    np.add.at(noise.confusion, tuple(RNG.integers(0, 1000, (2, 50_000))), 1)
    for sample in [*noise.augmented, *noise.mistakes]:
        sample.pixels = RNG.integers(0, 256, (500, 700, 3)).astype(np.uint8)  # what JPEG can shorten least
        sample.heat = None if sample.heat is None else RNG.random((500, 700))
    assert len(render(noise).encode()) < 2_000_000


def test_a_run_with_nothing_but_figures():
    metrics = {"samples": 3, "loss": 0.1, "rmse": 0.3, "r2": None}
    page = render(Facts("train: 1", "done", "train", [], {}, metrics, 0, 0, 7))
    assert "trained on: nothing says" in page and "<td>–</td>" in page and "Confusion" not in page


def test_markup_is_escaped_once():
    assert tag("td", "<b>", class_='x"y', id=None) == '<td class="x&quot;y">&lt;b&gt;</td>'
    assert tag("p", tag("b", "a & b"), None, 3) == "<p><b>a &amp; b</b>3</p>"
    assert text(Html("<i>")) == "<i>" and text("\udcff") == "\ufffd" and tag("img", src="a") == '<img src="a">'


@pytest.mark.parametrize("preprocessing", [preset_eval(None, None), preset_caffe()], ids=["usual", "caffe"])
def test_what_is_shown_is_the_picture(preprocessing):
    from PIL import Image

    pixels = RNG.integers(0, 256, (224, 224, 3)).astype(np.uint8)
    shown = visible(preprocessing(Image.fromarray(pixels)).numpy(), preprocessing)
    assert abs(shown.astype(int) - pixels).max() <= 1
    assert (heated(pixels, np.ones((224, 224)))[..., 0] > 150).all()


@pytest.mark.skipif(find_browser() is None, reason="no browser of Chromium's family is installed")
def test_a_browser_shows_it_without_a_script_an_error_or_a_request(tmp_path):
    page = tmp_path / "report.html"
    page.write_text(render(facts(HOSTILE)), "utf-8")
    found = visit(page, tmp_path)
    assert found.console == [] and found.requests == []
    assert "<title>finetune: &lt;/script&gt;" in found.document and "<script" not in found.document
    assert found.document.count("<svg") >= 4 and found.document.rstrip().endswith("</html>")


@pytest.mark.skipif(find_browser() is None, reason="no browser of Chromium's family is installed")
def test_the_check_in_the_browser_can_fail(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("seen")</script>', "utf-8")
    found = visit(page, tmp_path)
    assert found.requests == ["http://127.0.0.1:9/x.png"] and any("seen" in line for line in found.console)
