"""docs/reliability.md is what the tests say."""

import pytest

from tests.faults import report


def test_the_committed_table_is_up_to_date():
    text = report.TARGET.read_text("utf-8")
    figures, where = report.read_back(text)
    assert text == report.render(report.rows(), figures, where), "python -m tests.faults.report writes it"
    missing = [row.test for row in report.rows() if figures.get(row.test) in (None, "", "FAILED")]
    assert missing == [], "without figures, or failed"


def test_every_line_is_one_test_with_words_of_its_own():
    rows = report.rows()
    assert len(rows) > 25 and len({row.test for row in rows}) == len(rows) == len({row.fault for row in rows})
    assert all(row.fault and row.promise and "|" not in row.fault + row.promise for row in rows)


class Outcome:
    """As much of a report of pytest as the recorder looks at."""

    def __init__(self, nodeid, outcome="passed", when="call", figures=None):
        self.nodeid, self.outcome, self.when, self.duration = nodeid, outcome, when, 0.5
        self.passed = outcome == "passed"
        self.user_properties = [("figures", figures)] if figures else []


@pytest.mark.parametrize(
    ("outcomes", "text"),
    [
        ([Outcome("a::b", when="setup"), Outcome("a::b", figures="9 kills")], "9 kills; 1.0 s"),
        ([Outcome("a::b[1]"), Outcome("a::b[2]")], "2 cases; 1.0 s"),
        ([Outcome("a::b[1]"), Outcome("a::b[2]", "failed")], "FAILED"),
        ([Outcome("a::b", "failed", "setup")], "FAILED"),
        ([Outcome("a::b", "skipped")], "skipped on this machine"),
    ],
)
def test_figures(outcomes, text):
    recorder = report.Recorder()
    for outcome in outcomes:
        recorder.pytest_runtest_logreport(outcome)
    assert recorder.figures() == {"a::b": text}
    row = report.Row("fault", "promise", "tests/a::b")
    written = report.render([row], {"tests/a::b": text}, "here")
    assert report.read_back(written) == ({"tests/a::b": text}, "here")
    assert report.read_back(report.render([row], {}, "here"))[0] == {"tests/a::b": ""}
