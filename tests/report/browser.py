"""A page opened in a real browser without a window: what became of it, what the console said, what was asked for."""

import json
import pathlib
import re
import shutil
import subprocess
from dataclasses import dataclass

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions",
         "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=2000",
         "--enable-logging=stderr")  # fmt: skip
BROWSERS_OWN = "not an origin"  # who asks when no page does: updates and the like


def find_browser() -> str | None:
    """The path of a browser of Chromium's family; None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Visit:
    """The document after loading, the console's lines, and the addresses outside of the page that were asked for."""

    document: str
    console: list[str]
    requests: list[str]


def visit(page: pathlib.Path, work: pathlib.Path) -> Visit:
    """Open a file and wait until it has loaded."""
    log = work / "network.json"
    words = [find_browser(), *QUIET, f"--user-data-dir={work / 'profile'}", f"--log-net-log={log}", "--dump-dom",
             page.as_uri()]  # fmt: skip
    answer = subprocess.run(words, capture_output=True, timeout=90, check=False)
    assert answer.returncode == 0, answer.stderr.decode("utf-8", "replace")
    console = re.findall(r"CONSOLE[^\n]*", answer.stderr.decode("utf-8", "replace"))
    return Visit(answer.stdout.decode("utf-8"), console, _asked_for(log.read_text("utf-8")))


def _asked_for(log: str) -> list[str]:
    """Addresses of all requests in a network log, but for the file itself and what the page holds."""
    record = json.loads(log)
    starts = record["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [event["params"] for event in record["events"]
             if event["type"] == starts and "url" in event.get("params", {})]  # fmt: skip
    found = [request["url"] for request in asked if request.get("initiator") != BROWSERS_OWN]
    return [address for address in found if not address.startswith(("file:", "data:", "chrome:", "about:"))]
