"""The page: one file that shows the same everywhere and asks nobody for anything.

It has no script, and its Content-Security-Policy forbids scripts and requests, so that not even a mistake in escaping a
name could run or fetch something.
"""

from minires.report import sections
from minires.report.facts import Facts
from minires.report.markup import Html, tag

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = Html("""
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.6rem; overflow-wrap: anywhere } h2 { font-size: 1.25rem; margin-top: 2.2rem }
h3 { font-size: 1rem; margin-bottom: .4rem }
table { border-collapse: collapse; margin: .6rem 0; display: block; overflow-x: auto }
th, td { text-align: left; padding: .2rem .7rem; border-bottom: 1px solid #ddd;
  overflow-wrap: break-word; vertical-align: top }
th { font-weight: 600 }
.matrix td { text-align: center; min-width: 2rem; border: 1px solid #eee }
.wide { overflow-x: auto }
.gallery { display: flex; flex-wrap: wrap; gap: .8rem }
figure { margin: 0; width: min-content } .pair { display: flex; gap: .2rem }
figcaption { font-size: 12px; line-height: 1.35; overflow-wrap: anywhere }
.crisp { image-rendering: pixelated }
svg { max-width: none } details summary { cursor: pointer; margin: .5rem 0 }
""")


def render(facts: Facts) -> str:
    """The text of report.html."""
    head = tag("head", tag("meta", charset="utf-8"), tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
               tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
               tag("title", facts.title), tag("style", STYLE))  # fmt: skip
    parts = [sections.figures(facts), sections.data(facts), sections.training(facts), sections.tables(facts),
             sections.confusion(facts), sections.answers(facts), sections.calibration(facts), sections.mistakes(facts),
             sections.review(facts), sections.embedding(facts), sections.signals(facts),
             sections.facts_table("Model", facts.model), sections.facts_table("Hyper-parameters", facts.settings),
             sections.facts_table("Versions", facts.versions)]  # fmt: skip
    body = tag("body", tag("h1", facts.title), tag("p", f"{facts.status}; seed {facts.seed}"), *parts)
    return "<!DOCTYPE html>\n" + tag("html", head, body, lang="en") + "\n"
