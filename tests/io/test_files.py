import contextlib
import errno
import os
import stat

import pytest

from minires.io import files
from tests.io.crash_states import every_state
from tests.io.faults import CALLS, ERRORS, NEEDS_SPACE, Counting, Faulty, Recording, ShortWrites

pytestmark = pytest.mark.timeout(30)

OLD, NEW = b"old content", b"new content, which is longer" * 3


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()


def calls_of(function, *arguments) -> list[str]:
    with files.use(Counting()) as system:
        function(*arguments)
    return system.names


def test_writes_and_reads(tmp_path):
    path = tmp_path / "a.bin"
    for data in (OLD, NEW, b"", bytearray(b"xy"), memoryview(b"xyz"), "Grüße\n"):
        files.write_atomic(path, data)
        assert files.read_bytes(path) == (data.encode() if isinstance(data, str) else bytes(data))
    assert files.read_text(path) == "Grüße\n"
    assert files.list_folder(tmp_path) == ["a.bin"]


def test_relative_path_and_permissions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    previous = os.umask(0o027)
    try:
        files.write_atomic("name", OLD)
    finally:
        os.umask(previous)
    assert files.read_bytes("name") == OLD
    assert stat.S_IMODE(os.stat("name").st_mode) == 0o640


def test_the_order_of_the_calls(tmp_path):
    names = calls_of(files.write_atomic, tmp_path / "a", NEW)
    assert names == ["open", "write", "fsync", "close", "replace", "open", "fsync", "close"]


@pytest.mark.parametrize("sticky", [False, True], ids=["once", "sticky"])
@pytest.mark.parametrize("name", ERRORS)
def test_a_fault_at_every_call_of_a_write(tmp_path, name, sticky):
    path, before = str(tmp_path / "a.bin"), descriptors()
    calls = CALLS if name == "EIO" else NEEDS_SPACE
    for at in range(1, 100):
        files.write_atomic(path, OLD)
        system = Faulty(ERRORS[name], at, sticky, calls)
        error = None
        with files.use(system):
            try:
                files.write_atomic(path, NEW)
            except files.FileAccessError as caught:
                error = caught
        assert (error is not None) == system.fired
        assert os.listdir(tmp_path) == ["a.bin"]
        assert descriptors() == before
        if not system.fired:
            break
        replaced = "replace" in system.names[:-1] and files.read_bytes(path) == NEW
        assert replaced or files.read_bytes(path) == OLD
        assert path in str(error) and "\n" not in str(error)
        assert replaced or f"{len(NEW)} bytes needed" in str(error)
        assert error.code == ("file.io" if name == "EIO" else "file.no_space")
        assert error.file == path
    assert at == len([call for call in system.names if call in calls]) + 1 >= 6
    assert files.read_bytes(path) == NEW


@pytest.mark.fault("EINTR at every call of a write and of a log line", "the call is made again")
def test_interrupted_calls_are_made_again(tmp_path):
    path = tmp_path / "a.bin"
    for at in range(1, 100):
        with files.use(Faulty(errno.EINTR, at, sticky=False)) as system:
            files.write_atomic(path, NEW)
            files.append_line(tmp_path / "log", "line")
        assert files.read_bytes(path) == NEW
        assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
        if not system.fired:
            break
    assert at > 10
    assert files.read_text(tmp_path / "log") == "line\n" * at


@pytest.mark.parametrize("sticky", [False, True])
def test_short_writes_go_on(tmp_path, sticky):
    with files.use(ShortWrites(1, sticky)) as system:
        files.write_atomic(tmp_path / "a", NEW)
        files.append_line(tmp_path / "log", "a line of some length")
    assert system.fired
    assert files.read_bytes(tmp_path / "a") == NEW
    assert files.read_text(tmp_path / "log") == "a line of some length\n"


def test_a_write_that_takes_nothing_is_an_error(tmp_path):
    with files.use(ShortWrites(1, sticky=True, size=0)), pytest.raises(files.FileAccessError, match="took no byte"):
        files.write_atomic(tmp_path / "a", NEW)
    assert os.listdir(tmp_path) == []


def test_an_interrupt_of_the_user_leaves_nothing(tmp_path):
    class Interrupted(Counting):
        def before(self, name, arguments):
            if name == "fsync":
                raise KeyboardInterrupt

    before = descriptors()
    files.write_atomic(tmp_path / "a", OLD)
    with files.use(Interrupted()), pytest.raises(KeyboardInterrupt):
        files.write_atomic(tmp_path / "a", NEW)
    assert os.listdir(tmp_path) == ["a"] and files.read_bytes(tmp_path / "a") == OLD
    assert descriptors() == before


def test_folders_that_cannot_be_flushed_are_accepted_but_not_a_failing_disk(tmp_path):
    class NoFolderSync(Counting):
        def before(self, name, arguments):
            if name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")

    with files.use(NoFolderSync()) as system:
        files.write_atomic(tmp_path / "a", NEW)
    assert system.names.count("fsync") == 2
    with files.use(Faulty(errno.EIO, 2, False, ("fsync",))), pytest.raises(files.FileAccessError, match="power cut"):
        files.write_atomic(tmp_path / "a", OLD)


# ------------------------------------------------------------------------------------------------------- power cuts


def violations(write, folder) -> list[str]:
    """What goes wrong in some state after a power cut during `write(path, NEW)` over a file that holds OLD."""
    path = str(folder / "target")
    files.write_atomic(path, OLD)
    with files.use(Recording()) as system:
        write(path, NEW)
    assert system.log
    found = set()
    for returned, state in every_state(system.log, {path: OLD}):
        content = state.get(path)
        if content not in (OLD, NEW):
            found.add("torn")
        if returned and content != NEW:
            found.add("lost after it had returned")
    return sorted(found)


@pytest.mark.fault(
    "a power cut at any call of the writing of a file",
    "old or new content, never a torn file; new once the call has returned",
)
def test_no_state_after_a_power_cut_is_torn(tmp_path):
    assert violations(files.write_atomic, tmp_path) == []


def write_in_place(path, data):
    descriptor = files.system.open(path, os.O_WRONLY | os.O_TRUNC)
    files.system.write(descriptor, memoryview(data))
    files.system.fsync(descriptor)
    files.system.close(descriptor)


def rename_before_write(path, data):
    descriptor = files.system.open(path + ".tmp", os.O_WRONLY | os.O_CREAT)
    files.system.replace(path + ".tmp", path)
    files.system.write(descriptor, memoryview(data))
    files.system.fsync(descriptor)
    files.system.close(descriptor)
    files.sync_folder(os.path.dirname(path))


def remove_first(path, data):
    files.system.remove(path)
    files.write_atomic(path, data)


@pytest.mark.fault(
    "writing in place, renaming before writing, removing the old file first",
    "the check of power cuts turns red",
)
@pytest.mark.parametrize("write", [write_in_place, rename_before_write, remove_first])
def test_planted_bugs_are_found(tmp_path, write):
    assert "torn" in violations(write, tmp_path)


def without(kind):
    """write_atomic on a system whose `kind` ("fsync" of files, or "fsync_folder") does nothing."""

    def write(path, data):
        system = files.system

        class Lazy(Recording):
            def fsync(self, descriptor):
                is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
                if is_folder != (kind == "fsync_folder"):
                    super().fsync(descriptor)

        with files.use(Lazy()) as lazy:
            files.write_atomic(path, data)
        system.log += lazy.log

    return write


def test_a_missing_fsync_is_found(tmp_path):
    assert "torn" in violations(without("fsync"), tmp_path)
    assert violations(without("fsync_folder"), tmp_path) == ["lost after it had returned"]


# ---------------------------------------------------------------------------------------------------- reading, logs


def test_read_errors_name_the_file_and_the_reason(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, code in (("none", "file.not_found"), ("folder", "file.not_regular"), ("pipe", "file.not_regular")):
        with pytest.raises(files.FileAccessError, match=name) as caught:
            files.read_bytes(tmp_path / name)
        assert (caught.value.code, caught.value.file) == (code, str(tmp_path / name))
    with pytest.raises(files.FileAccessError, match="none"):
        files.list_folder(tmp_path / "none")
    with pytest.raises(files.FileAccessError, match="none"):
        files.write_atomic(tmp_path / "none" / "x", b"")
    with pytest.raises(files.FileAccessError, match="none"):
        files.remove(tmp_path / "none")
    files.remove(tmp_path / "none", missing_ok=True)


def test_reading_fails_cleanly_at_every_call(tmp_path):
    files.write_atomic(tmp_path / "a", NEW)
    before = descriptors()
    for at in range(1, 100):
        with files.use(Faulty(errno.EIO, at, sticky=False)) as system, contextlib.suppress(files.FileAccessError):
            assert files.read_bytes(tmp_path / "a") == NEW
            assert not system.fired
        assert descriptors() == before
        if not system.fired:
            break
    assert at > 4


def test_reads_files_whose_size_is_not_known():
    if not os.path.exists("/proc/self/status"):
        pytest.skip("no /proc")
    assert os.stat("/proc/self/status").st_size == 0
    assert b"VmRSS" in files.read_bytes("/proc/self/status")


def test_append_line_ends_a_torn_line(tmp_path):
    log = tmp_path / "log"
    files.append_line(log, "one")
    with open(log, "ab") as stream:
        stream.write(b'{"torn')
    files.append_line(log, "two", sync=True)
    assert files.read_text(log).splitlines() == ["one", '{"torn', "two"]
    for wrong in ("a\nb", "a\r"):
        with pytest.raises(ValueError, match="line break"):
            files.append_line(log, wrong)


def test_make_folder(tmp_path):
    files.make_folder(tmp_path / "a" / "b" / "c")
    files.make_folder(str(tmp_path / "a" / "b" / "c") + "/")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert files.make_new_folder(tmp_path / "d") and not files.make_new_folder(tmp_path / "d")
    files.write_atomic(tmp_path / "file", b"")
    for path in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(files.FileAccessError, match="file"):
            files.make_folder(path)


def test_remove_leftovers_takes_only_temporary_files(tmp_path):
    for name in (".a.bin.123-0123abcd.tmp", ".hidden", "notes.tmp", "a.bin"):
        files.write_atomic(tmp_path / name, b"")
    assert files.remove_leftovers(tmp_path) == [".a.bin.123-0123abcd.tmp"]
    assert files.list_folder(tmp_path) == [".hidden", "a.bin", "notes.tmp"]
    assert files.remove_leftovers(tmp_path / "none") == []


def test_somebody_else_s_temporary_file_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_mark", lambda: "1-00000000")
    (tmp_path / "precious").write_bytes(b"")
    os.symlink(tmp_path / "precious", tmp_path / ".a.1-00000000.tmp")
    with pytest.raises(files.FileAccessError, match="exists"):
        files.write_atomic(tmp_path / "a", NEW)
    assert files.read_bytes(tmp_path / "precious") == b"" and os.path.islink(tmp_path / ".a.1-00000000.tmp")


def test_temporary_names_never_repeat():
    assert len({files._mark() for _ in range(100)}) == 100


def test_a_limit_of_the_system_on_the_size_of_files(tmp_path):
    resource = pytest.importorskip("resource")
    path, before = tmp_path / "a", resource.getrlimit(resource.RLIMIT_FSIZE)
    files.write_atomic(path, OLD)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(files.FileAccessError, match=r"a \(1000000 bytes needed\)"):
            files.write_atomic(path, bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files.read_bytes(path) == OLD and os.listdir(tmp_path) == ["a"]
