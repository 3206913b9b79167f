"""`minires report RUN`: the run's report.html, one page without scripts or requests, written anew."""

import os
from collections.abc import Sequence

from minires.cli import output
from minires.cli.options import Parser, add_common

EXAMPLES = """  minires report runs/finetune-resnet20-1
  minires report runs/finetune-resnet20-1 --json"""


def run(name: str, words: Sequence[str]) -> int:
    """The command. The path of the page goes to stdout."""
    text = ("Write report.html of a run that has ended: figures with confidence intervals, curves, confusion, "
            "calibration, worst mistakes with Grad-CAM, doubtful labels. Every training writes it at its end, too; "
            "this one shows what this version of minires can show.")  # fmt: skip
    parser = Parser(name, text, EXAMPLES)
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    add_common(parser)
    given = parser.read(words)
    from minires.finetune.reporting import report_run

    say = (lambda text: None) if given.get("quiet") else output.say
    path = report_run(given["run"], say)
    if given.get("json"):
        output.result_json({"report": path, "bytes": os.path.getsize(path)})
    else:
        output.result(path)
    return 0
