"""How a batch travels from a worker process to the main process: its arrays in shared memory, the rest as a message.

Arrays are not pickled. The worker writes them, one behind the other, to memory without a name (memfd_create, Linux),
and hands the descriptor over; the main process maps that memory, and the arrays of its batch lie in it, uncopied. What
has no name leaves nothing behind, however anybody dies, and the size of /dev/shm, 64 MB in many containers, does not
matter. The memory is given back when the last array in it is gone.

Where there is no such memory (other systems; no descriptor or no memory left) the bytes come through the pipe: slower,
and otherwise the same. Every array arrives with the memory order that it had, so that the arithmetic behind it rounds
in the same way whatever the number and the kind of workers.
"""

import io
import mmap
import os
import pickle
import traceback
import weakref
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from minires.data.worker_jobs import WorkerError
from minires.io import files

SMALL = 1 << 14  # bytes of a batch that are not worth a descriptor
ALIGNMENT = 64
MOST_MAPPED = 64  # batches that share memory at the same time; each holds a descriptor, and a process has 1024 or so

_mapped: "weakref.WeakSet[mmap.mmap]" = weakref.WeakSet()


class _Pickler(pickle.Pickler):
    """Pickles what is around the arrays; their memory goes to the buffers."""

    def reducer_override(self, thing: Any) -> Any:
        if type(thing) is not np.ndarray or thing.dtype.hasobject:
            return NotImplemented
        order = sorted(range(thing.ndim), key=lambda axis: -abs(thing.strides[axis]))
        packed = thing.transpose(order)
        if not packed.flags.c_contiguous:  # a view with gaps: a copy without them
            order, packed = list(range(thing.ndim)), np.ascontiguousarray(thing)
        memory = pickle.PickleBuffer(packed.reshape(-1).view(np.uint8).data)
        return _array, (memory, thing.dtype, packed.shape, np.argsort(order).tolist())


def _array(memory: Any, dtype: np.dtype, shape: tuple[int, ...], axes: list[int]) -> np.ndarray:
    return np.ndarray(shape, dtype, memory).transpose(axes)


def send(connection: Connection, message: Any) -> None:
    """Send any picklable message. Raises what pickling raises, before anything is sent."""
    stream, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(message)
    parts = [buffer.raw() for buffer in buffers]
    sizes = [part.nbytes for part in parts]
    descriptor, reason = _shared(parts) if sum(sizes) > SMALL else (None, None)
    try:
        connection.send_bytes(pickle.dumps((stream.getvalue(), sizes, descriptor is not None, reason)))
        if descriptor is not None:
            from multiprocessing import reduction

            reduction.send_handle(connection, descriptor, 0)
            return
        for part in parts:
            if part.nbytes:
                connection.send_bytes(part)
    finally:
        if descriptor is not None:
            files.system.close(descriptor)


def receive(connection: Connection) -> tuple[Any, str | None]:
    """The next message, and why shared memory was refused to it, if it was. EOFError or OSError at the end."""
    content, sizes, shared, reason = pickle.loads(connection.recv_bytes())
    if shared:
        buffers = _received(connection, sizes)
    else:
        buffers = [memoryview(bytearray(size)) for size in sizes]
        for buffer in buffers:
            if buffer.nbytes:
                connection.recv_bytes_into(buffer)
    return pickle.loads(content, buffers=buffers), reason


def _offsets(sizes: list[int]) -> list[int]:
    """Where each array begins in memory, and where the last one ends."""
    offsets = [0]
    for size in sizes:
        offsets.append(offsets[-1] + -(-size // ALIGNMENT) * ALIGNMENT)
    return offsets


def _shared(parts: list[memoryview]) -> tuple[int | None, str | None]:
    """A descriptor of shared memory that holds the parts; or none, and the reason if it is not the operating system.

    It is written to, not mapped: where memory has run out, a write fails, while a mapping would end the process.
    """
    if not hasattr(os, "memfd_create"):
        return None, None
    try:
        descriptor = os.memfd_create("minires-batch", os.MFD_CLOEXEC)
    except OSError as error:
        return None, error.strerror
    offsets = _offsets([part.nbytes for part in parts])
    try:
        files.again(files.system.truncate, descriptor, offsets[-1])
        for part, offset in zip(parts, offsets, strict=False):
            files.again(files.system.seek, descriptor, offset, os.SEEK_SET)
            files.write_all(descriptor, part)
    except OSError as error:
        files.system.close(descriptor)
        return None, error.strerror
    return descriptor, None


def _received(connection: Connection, sizes: list[int]) -> list[memoryview]:
    """The memory that `_shared` filled: mapped, or copied where many batches are held already."""
    from multiprocessing import reduction

    try:
        descriptor = reduction.recv_handle(connection)
    except RuntimeError as error:  # the system drops a descriptor for which there is no room
        raise WorkerError(
            "this process can open no more files, and so receives no batch", hint="raise the limit: ulimit -n"
        ) from error
    offsets = _offsets(sizes)
    try:
        if len(_mapped) < MOST_MAPPED:
            mapping = mmap.mmap(descriptor, offsets[-1])
            _mapped.add(mapping)
            memory = memoryview(mapping)
        else:
            memory = memoryview(bytearray(offsets[-1]))
            files.again(files.system.seek, descriptor, 0, os.SEEK_SET)
            position = 0
            while part := files.again(files.system.read, descriptor, min(1 << 20, len(memory) - position)):
                memory[position : position + len(part)] = part
                position += len(part)
    finally:
        files.system.close(descriptor)
    return [memory[offset : offset + size] for offset, size in zip(offsets, sizes, strict=False)]


# --------------------------------------------------------------------------------------------------------- exceptions


class RemoteError(Exception):
    """Stands as the cause of an exception that came from a worker process: the text of its traceback there."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


def pack_error(error: BaseException) -> tuple[bytes, str]:
    """An exception as bytes, and its traceback as text. One that cannot be pickled becomes a WorkerError that tells."""
    text = "".join(traceback.format_exception(error))
    try:
        content = pickle.dumps(error)
        pickle.loads(content)  # some go in and do not come out
    except Exception:
        shown = f"{type(error).__name__}: {error}"
        notes = getattr(error, "__notes__", [])
        replacement = WorkerError("; ".join([shown, *notes]), code="data.worker_exception")
        for note in notes:
            replacement.add_note(note)
        content = pickle.dumps(replacement)
    return content, text


def unpack_error(packed: tuple[bytes, str]) -> BaseException:
    """What `pack_error` packed, with its traceback as the cause."""
    content, text = packed
    error = pickle.loads(content)
    error.__cause__ = RemoteError(text)
    return error
