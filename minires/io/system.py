"""The system calls of minires.io, in one small object."""

import os


class System:
    """The system calls that minires uses, one method each, and nothing else. Tests put a faulty one in its place."""

    def open(self, path: str, flags: int) -> int:
        """Descriptor of `path`; new files get the permissions that the user's umask leaves."""
        return os.open(path, flags, 0o666)

    def read(self, descriptor: int, size: int) -> bytes:
        """Up to `size` bytes; empty at the end of the file."""
        return os.read(descriptor, size)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Number of bytes taken, which may be fewer than given."""
        return os.write(descriptor, data)

    def seek(self, descriptor: int, offset: int, whence: int) -> int:
        """Move to `offset` from the start (whence 0) or the end (2); returns the position."""
        return os.lseek(descriptor, offset, whence)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to `size` bytes."""
        os.ftruncate(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        """Return when what was written has reached the disk."""
        os.fsync(descriptor)

    def status(self, descriptor: int) -> os.stat_result:
        """Kind and size of an open file."""
        return os.fstat(descriptor)

    def close(self, descriptor: int) -> None:
        """Give the descriptor back."""
        os.close(descriptor)

    def replace(self, source: str, target: str) -> None:
        """Rename, over an existing file too, in one step."""
        os.replace(source, target)

    def remove(self, path: str) -> None:
        """Take a file's name away."""
        os.unlink(path)

    def make_folder(self, path: str) -> None:
        """Make one folder, whose parent exists."""
        os.mkdir(path)

    def remove_folder(self, path: str) -> None:
        """Take an empty folder away."""
        os.rmdir(path)

    def list_folder(self, path: str) -> list[str]:
        """Names in a folder, in any order."""
        return os.listdir(path)
