"""What the fork server imports, once, so that each worker begins with it.

The server is started with Ctrl-C blocked, for it would be interrupted in the midst of these imports. From here on it
ignores Ctrl-C by itself, and the processes that it makes must not inherit the block.
"""

import signal

import minires.data.worker_main  # noqa: F401 - the import is what this is about


def _unblock() -> None:
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # forgets a Ctrl-C that waits
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, handler)


if hasattr(signal, "pthread_sigmask"):
    _unblock()
