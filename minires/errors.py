"""The errors that minires raises on purpose, each with a stable code that scripts may rely on.

An error's text is one line that names the culprit; `hint` is one line that says what to do. The command line turns
`UsageError` into exit status 2 and every other `MiniresError` into 1. Errors of use inside the engine (a wrong shape, a
wrong type) are Python's own ValueError, TypeError, IndexError and RuntimeError, as in PyTorch.
"""


class MiniresError(Exception):
    """Base class. `code` is stable ("data.unreadable_image"); `file` names the file at fault, if one is."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, file: str | None = None, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.file = file
        self.hint = hint


class UsageError(MiniresError):
    """Wrong use: a flag, a setting, a folder that is refused. Nothing has been created."""

    code = "usage"


class DataError(MiniresError):
    """The user's data are at fault: a picture that cannot be read, a class without pictures."""

    code = "data"


class NumericalError(MiniresError):
    """A loss, an activation or a gradient is NaN or infinite."""

    code = "numerics.not_finite"


class FileFormatError(MiniresError):
    """A file is not what it claims to be. `offset` is the byte position of the fault where it is known."""

    code = "file.format"

    def __init__(self, path: object, offset: int | None, reason: str, *, hint: str | None = None):
        place = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{path}{place}: {reason}", file=str(path), hint=hint)
        self.path, self.offset, self.reason = str(path), offset, reason
