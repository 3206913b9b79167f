"""Every state that a disk may be in after a power cut, from the recorded calls of one update (the method of ALICE,
Pillai et al., OSDI 2014).

What may be lost: bytes written to a file since its last fsync (all of them, or all but a first part); changes of names
(create, rename, remove) since the last fsync of their folder, from the last one backwards. A file's bytes and its name
are independent: a rename may survive a power cut that the bytes written before it did not.
"""

import itertools
from collections.abc import Iterator


class _File:
    def __init__(self, content: bytes) -> None:
        self.content, self.durable = content, content

    def possible(self) -> set[bytes]:
        states = {self.content, self.durable}
        if self.content.startswith(self.durable) and self.content != self.durable:
            states.add(self.content[: (len(self.durable) + len(self.content)) // 2])
        return states


def states_after(log: list[tuple], before: dict[str, bytes]) -> Iterator[dict[str, bytes]]:
    """The possible states (path -> content) if the power fails right after the last call of `log`."""
    durable = {path: _File(content) for path, content in before.items()}
    names, pending = dict(durable), []  # names as the processes see them; changes of names that may be lost
    for kind, path, *rest in log:
        if kind == "create":
            names[path] = _File(b"")
            pending.append(dict(names))
        elif kind == "truncate":
            names[path].content = b""
        elif kind == "write":
            names[path].content += rest[0]
        elif kind == "fsync":
            names[path].durable = names[path].content
        elif kind == "replace":
            names[rest[0]] = names.pop(path)
            pending.append(dict(names))
        elif kind == "remove":
            del names[path]
            pending.append(dict(names))
        elif kind == "fsync_folder":  # all paths of these tests are in one folder
            durable, pending = dict(names), []
    for view in [durable, *pending]:
        choices = [[(path, content) for content in file.possible()] for path, file in view.items()]
        for state in itertools.product(*choices):
            yield dict(state)


def every_state(log: list[tuple], before: dict[str, bytes]) -> Iterator[tuple[bool, dict[str, bytes]]]:
    """(whether the update had returned, state) for a power cut after each call."""
    for length in range(len(log) + 1):
        for state in states_after(log[:length], before):
            yield length == len(log), state
