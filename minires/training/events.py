"""The callbacks of a Trainer, called in their order."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from minires.training.callbacks import Callback

if TYPE_CHECKING:
    from minires.training.trainer import Trainer


class Events:
    """Callbacks sorted by their `order`; those of equal order stay in the order of the list."""

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self.callbacks = sorted(callbacks, key=lambda callback: callback.order)

    def call(self, event: str, trainer: "Trainer") -> None:
        """Call one method of all callbacks."""
        for callback in self.callbacks:
            getattr(callback, event)(trainer)

    @contextlib.contextmanager
    def around(self, trainer: "Trainer") -> Iterator[None]:
        """before_fit, the block, on_exception if it fails, and cleanup of every callback whose before_fit was called.

        An error in on_exception is noted on the error that ends the run, and does not take its place.
        """
        with contextlib.ExitStack() as stack:
            try:
                for callback in self.callbacks:
                    stack.callback(callback.cleanup, trainer)
                    callback.before_fit(trainer)
                yield
            except BaseException as error:
                for callback in self.callbacks:
                    try:
                        callback.on_exception(trainer, error)
                    except Exception as other:
                        error.add_note(f"and then {type(callback).__name__}.on_exception: {other}")
                raise

    def say(self, text: str, trainer: "Trainer") -> bool:
        """Hand one line to the callbacks until one has shown it; False if none has."""
        return any(callback.on_message(trainer, text) for callback in self.callbacks)
