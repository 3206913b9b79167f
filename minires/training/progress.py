"""What a person sees of a training: a bar that moves on a terminal, and one line for each epoch that stays.

    epoch  3/20 ████████     28/40  00:12 left  loss 0.4123  accuracy 0.8712  lr 0.001  812 img/s
    epoch  3/20  loss 0.4011  accuracy 0.8754  val_loss 0.5210  val_accuracy 0.8400  lr 0.001  790 img/s  2.1 s

Where no terminal is (a file, a pipe, CI, TERM=dumb) there are no bars and no control codes: the lines of the epochs,
and within a long epoch one line a minute. Nothing here is kept in the history: the same run shows other speeds.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from minires.training.callbacks import Callback

if TYPE_CHECKING:
    from minires.training.trainer import Trainer

MINUTE = 60.0
BAR = "{desc} {bar:12} {n_fmt}/{total_fmt}  {remaining} left{figures}"  # a narrow terminal cuts the end off
STEPS_TO_JUDGE_BY = 10
USUAL_WIDTH = 80  # of a terminal that does not say


class _Bar(tqdm):
    """tqdm's bar with a field for our figures."""

    monitor_interval = 0  # no thread that watches the bars: it would outlive them
    figures = ""

    @property
    def format_dict(self) -> Any:
        figures = f"  {self.figures}" if self.figures else ""
        return {**super().format_dict, "ncols": columns(self.fp) or USUAL_WIDTH, "figures": figures}


def columns(stream: Any) -> int | None:
    """Width of the terminal: what COLUMNS says, else what the terminal says; None if neither does."""
    wish = os.environ.get("COLUMNS", "")
    if wish.isdigit() and int(wish) > 0:
        return int(wish)
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError, AttributeError):  # not a terminal
        return None


def bars_make_sense(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that a person looks at."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")


def show_figure(name: str, value: float) -> str:
    """A figure as in "loss 0.4123"; learning rates and other small numbers with what it takes."""
    number = f"{value:.4g}" if name == "lr" or (value and abs(value) < 1e-3) or abs(value) >= 1e5 else f"{value:.4f}"
    return f"{name} {number}"


def show_figures(figures: dict[str, Any]) -> str:
    """All figures in one line."""
    return "  ".join(show_figure(name, value) for name, value in figures.items())


def show_duration(seconds: float) -> str:
    """A duration such as 45 s, 12 min or 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / MINUTE)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def print_line(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


class Progress(Callback):
    """Shows how a fit goes on. `say`: where lines go (default: stderr). `bars`: True, False, or None: on a terminal.

    every_steps: a line within an epoch after so many steps (default: none beside a bar, else one a minute).
    """

    order = 200

    def __init__(
        self, say: Callable[[str], None] = print_line, bars: bool | None = None, every_steps: int | None = None
    ) -> None:  # fmt: skip
        self.say, self.bars, self.every_steps = say, bars, every_steps
        self.bar: Any = None
        self.clock = time.monotonic
        self.began = self.last_line = 0.0
        self.samples, self.speed = 0, ""
        self.steps, self.has_estimated = 0, False

    def before_epoch(self, trainer: "Trainer") -> None:
        self.began = self.last_line = self.clock()
        self.samples, self.speed = 0, ""
        self.steps = 0
        if self.bars if self.bars is not None else bars_make_sense(sys.stderr):
            self.bar = _Bar(
                total=trainer.batches, initial=trainer.position, desc=self._title(trainer), bar_format=BAR, leave=False,
                ncols=USUAL_WIDTH, nrows=2, mininterval=0.1, file=sys.stderr,
            )  # fmt: skip

    def after_step(self, trainer: "Trainer") -> None:
        self.samples += trainer.batch_size
        seconds = self.clock() - self.began
        self.speed = f"{self.samples / max(seconds, 1e-9):.3g} img/s"
        self.steps += 1
        if self.steps == STEPS_TO_JUDGE_BY and trainer.batches is not None:
            self._estimate(trainer, seconds / self.steps)
        if self.bar is not None:
            self.bar.figures = self._figures(trainer)
            self.bar.update(trainer.position - self.bar.n)
        if self._line_is_due(trainer):
            self.last_line = self.clock()
            of = "" if trainer.batches is None else f"/{trainer.batches}"
            self.on_message(trainer, f"  {self._title(trainer)}, step {trainer.position}{of}  {self._figures(trainer)}")

    def _line_is_due(self, trainer: "Trainer") -> bool:
        if self.every_steps is not None:
            return trainer.step % self.every_steps == 0
        return self.bar is None and self.clock() - self.last_line >= MINUTE

    def before_evaluate(self, trainer: "Trainer") -> None:
        if self.bar is not None:
            self.bar.figures = "validation"
            self.bar.refresh()

    def after_epoch(self, trainer: "Trainer") -> None:
        self._close()
        row = trainer.history.rows[-1]
        figures = show_figures({name: value for name, value in row.items() if name not in ("epoch", "step")})
        speed = f"  {self.speed}" if self.speed else ""
        title = f"epoch {row['epoch']:>{len(str(trainer.epochs))}}/{trainer.epochs}"
        self.say(f"{title}  {figures}{speed}  {self.clock() - self.began:.1f} s")

    def on_message(self, trainer: "Trainer", text: str) -> bool:
        if self.bar is not None:
            self.bar.clear()
        self.say(text)
        if self.bar is not None:
            self.bar.refresh()
        return True

    def cleanup(self, trainer: "Trainer") -> None:
        self._close()

    def _estimate(self, trainer: "Trainer", seconds_a_step: float) -> None:
        """Once a fit, early in it: how long the rest will take, if that is worth a line."""
        left = (trainer.epochs - trainer.epoch) * (trainer.batches or 0) - trainer.position
        if not self.has_estimated and left * seconds_a_step >= MINUTE:
            self.on_message(trainer, f"  {1000 * seconds_a_step:.0f} ms a step: the training takes about "
                            f"{show_duration(left * seconds_a_step)} more, without validation")  # fmt: skip
        self.has_estimated = True

    def _title(self, trainer: "Trainer") -> str:
        return f"epoch {trainer.epoch + 1:>{len(str(trainer.epochs))}}/{trainer.epochs}"

    def _figures(self, trainer: "Trainer") -> str:
        return show_figures({**trainer.running_figures(), "lr": trainer.last_lr}) + "  " + self.speed

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
