"""Writing whole files and folders or nothing, locks, digests, the project's folder."""

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest

from caebook import files
from caebook.errors import WriteError

OLD, NEW = b"old content", b"new content"


def write_file(path: Path, content: bytes = NEW, **options: str) -> None:
    with files.replacing_file(path, **options) as file:
        file.write(content)


def write_folder(path: Path, content: bytes = NEW, **options: str) -> None:
    with files.replacing_folder(path, **options) as folder:
        (folder / "inside").mkdir()
        (folder / "inside" / "data").write_bytes(content)


def content_of(path: Path) -> bytes | None:
    """Content that `write_file` or `write_folder` left at `path`."""
    data = path / "inside" / "data" if path.is_dir() else path
    return data.read_bytes() if data.exists() else None


def everything_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


both = pytest.mark.parametrize("write", [write_file, write_folder])
replaced = pytest.mark.parametrize("before", [None, OLD], ids=["new", "replaced"])


# --- writing ------------------------------------------------------------------------


@both
def test_content_appears_under_its_name_and_folders_are_made(write, tmp_path):
    target = tmp_path / "a" / "b" / "target"
    write(target)
    assert content_of(target) == NEW
    assert os.listdir(target.parent) == ["target"]


@both
def test_a_second_write_replaces_the_first_as_a_whole(write, tmp_path):
    target = tmp_path / "target"
    write(target, OLD)
    if target.is_dir():
        (target / "left over").touch()
    write(target)
    assert content_of(target) == NEW
    assert everything_in(tmp_path) <= {"target", "target/inside", "target/inside/data"}


def test_readers_see_the_old_content_until_the_new_is_complete(tmp_path):
    path, folder = tmp_path / "file", tmp_path / "folder"
    write_file(path, OLD)
    write_folder(folder, OLD)
    with files.replacing_file(path) as file:
        file.write(NEW)
        file.flush()
        assert content_of(path) == OLD
    with files.replacing_folder(folder) as staging:
        (staging / "other").touch()
        assert content_of(folder) == OLD
    assert (content_of(path), os.listdir(folder)) == (NEW, ["other"])


@both
def test_a_symbolic_link_stays_and_its_target_is_replaced(write, tmp_path):
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    write(target, OLD)
    link.symlink_to(target)
    write(link)
    assert link.is_symlink() and content_of(target) == NEW
    assert os.listdir(target.parent) == ["target"]
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "link"]


@both
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_modes_follow_the_umask(write, umask, tmp_path):
    before = os.umask(umask)
    try:
        write(tmp_path / "target")
    finally:
        os.umask(before)
    usual = 0o777 if write is write_folder else 0o666
    assert (tmp_path / "target").stat().st_mode & 0o777 == usual & ~umask


@both
def test_the_longest_names_can_be_written(write, tmp_path):
    target = tmp_path / ("é" * 127)  # 254 bytes; file systems take 255
    write(target, OLD)
    write(target)
    assert content_of(target) == NEW


def test_text_is_written_as_utf_8(tmp_path):
    files.write_text(tmp_path / "text", "4×4\n")
    assert (tmp_path / "text").read_bytes() == b"4\xc3\x974\n"


# --- failures: the old content stays, and nothing else --------------------------------


@contextmanager
def limited_file_size(limit: int) -> Iterator[None]:
    """No file can grow beyond `limit` bytes, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def failing(name: str, call: int, error: BaseException) -> Iterator[None]:
    """The function `os.<name>` raises `error` when it is called the nth time."""
    real: Callable = getattr(os, name)
    calls = 0

    def fails(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, fails)
        yield
    assert calls >= call, f"os.{name} was called {calls} times"


def assert_unchanged(write: Callable, target: Path, act: Callable[[], None]) -> None:
    """After `act`, `target` holds what it held, with nothing beside it or left open."""
    before, descriptors = content_of(target), open_descriptors()
    act()
    assert content_of(target) == before
    assert os.listdir(target.parent) == (["target"] if before else [])
    assert open_descriptors() == descriptors


@both
@replaced
@pytest.mark.parametrize("stage", ["write", "sync", "rename"])
def test_a_full_disk_leaves_the_old_content(write, before, stage, tmp_path):
    target = tmp_path / "target"
    if before:
        write(target, before)
    full = OSError(errno.ENOSPC, "No space left on device")
    renames = 2 if before and write is write_folder else 1
    broken = {
        "write": limited_file_size(100_000),
        "sync": failing("fsync", 1, full),
        "rename": failing("rename", renames, full),
    }[stage]

    def act() -> None:
        message = rf"^{target}: cannot be written \(.*\); free some space"
        with broken, pytest.raises(WriteError, match=message):
            write(target, bytes(200_000))

    assert_unchanged(write, target, act)


@both
@replaced
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_interruptions_and_the_callers_errors_leave_the_old_content(
    write, before, error, tmp_path
):
    target = tmp_path / "target"
    if before:
        write(target, before)
    replacing = files.replacing_file if write is write_file else files.replacing_folder

    def act() -> None:
        with pytest.raises(error), replacing(target) as place:
            if write is write_file:
                place.write(NEW)
            else:
                (place / "half").touch()
            raise error

    assert_unchanged(write, target, act)


@pytest.mark.parametrize("rename", [1, 2])
def test_an_interruption_between_the_renames_restores_the_folder(rename, tmp_path):
    target = tmp_path / "target"
    write_folder(target, OLD)

    def act() -> None:
        with failing("rename", rename, KeyboardInterrupt()):
            with pytest.raises(KeyboardInterrupt):
                write_folder(target)

    assert_unchanged(write_folder, target, act)


def test_a_killed_process_leaves_the_old_content(tmp_path):
    target = tmp_path / "target"
    write_file(target, OLD)
    script = (
        "import os, pathlib, signal, sys\n"
        "from caebook import files\n"
        "with files.replacing_file(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half of it')\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = subprocess.run([sys.executable, "-c", script, target])
    assert result.returncode == -signal.SIGKILL
    assert content_of(target) == OLD
    [left] = set(os.listdir(tmp_path)) - {"target"}
    assert left.startswith(".target-")  # hidden


# --- what is refused ----------------------------------------------------------------


def test_a_file_never_replaces_a_folder_or_a_pipe_nor_a_folder_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    os.mkfifo(tmp_path / "pipe")
    before = everything_in(tmp_path)
    for write, name in [
        (write_file, "folder"),
        (write_file, "pipe"),
        (write_folder, "file"),
        (write_folder, "pipe"),
    ]:
        kind = "file" if write is write_file else "folder"
        message = f"{name}: exists and is not a {kind}; choose another name"
        with pytest.raises(WriteError, match=message):
            write(tmp_path / name)
    assert everything_in(tmp_path) == before
    assert content_of(tmp_path / "file") == OLD


@both
def test_a_file_instead_of_a_parent_folder_is_named(write, tmp_path):
    (tmp_path / "parent").write_bytes(OLD)
    for target in (tmp_path / "parent" / "x", tmp_path / "parent" / "x" / "y"):
        with pytest.raises(WriteError) as caught:
            write(target)
        assert str(caught.value).startswith(f"{target}: cannot be written (")
        assert f"{tmp_path / 'parent'}" in str(caught.value)
        assert str(caught.value).endswith("is not a folder); choose another place")


@contextmanager
def ordinary_user() -> Iterator[None]:
    """The superuser, whom no permission stops, becomes somebody else."""
    if os.geteuid():
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@both
def test_missing_permission_is_reported(write):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = folder / "target"
        write(target, OLD)
        folder.chmod(0o555)
        try:
            with ordinary_user(), pytest.raises(WriteError) as caught:
                write(target)
        finally:
            folder.chmod(0o755)
        assert str(caught.value) == (
            f"{target}: cannot be written (Permission denied); choose another place"
        )
        assert content_of(target) == OLD and os.listdir(folder) == ["target"]


@both
def test_callers_can_word_the_remedy(write, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "file" / "x", tmp_path / "folder", tmp_path / "file"):
        if target.name == ("file" if write is write_file else "folder"):
            continue
        with pytest.raises(WriteError, match=r"; set CAEBOOK_DATA$"):
            write(target, remedy="set CAEBOOK_DATA")


@pytest.mark.parametrize("replacing", [files.replacing_file, files.replacing_folder])
def test_errors_about_other_files_pass_through(replacing, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        with replacing(tmp_path / "target"):
            (tmp_path / "missing").read_bytes()
    with pytest.raises(TimeoutError), replacing(tmp_path / "target"):
        raise TimeoutError("the server does not answer")
    assert os.listdir(tmp_path) == []


# --- locks --------------------------------------------------------------------------


def test_a_lock_excludes_other_processes_and_ends_with_them(tmp_path):
    path = tmp_path / "folder" / "lock"
    script = (
        "import pathlib, sys\n"
        "from caebook import files\n"
        "with files.locked(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(filelock.Timeout), files.locked(path, timeout=0):
            pass
        holder.kill()
    with files.locked(path, timeout=0):
        pass
    with files.locked(path, timeout=0):  # and it is free again
        pass


def test_a_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(ValueError), files.locked(tmp_path / "lock"):
        raise ValueError
    with files.locked(tmp_path / "lock", timeout=0):
        pass


def test_a_lock_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"lock: cannot be written .*not a folder"):
        with files.locked(tmp_path / "file" / "lock"):
            pass


# --- digests ------------------------------------------------------------------------


def test_digest_is_sha_256_of_sorted_json():
    expected = hashlib.sha256('{"a": "4×4", "b": [1, null]}'.encode()).hexdigest()
    assert files.digest({"b": (1, None), "a": "4×4"}) == expected[:16]


def test_digest_of_files_sees_names_and_contents_only(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    first = files.digest_files([one, two])
    assert files.digest_files(path for path in (two, one)) == first
    assert files.digest_files([one, two, tmp_path, tmp_path / "missing"]) == first
    two.rename(tmp_path / "three")
    assert files.digest_files([one, tmp_path / "three"]) != first
    two.write_bytes(b"3")
    assert files.digest_files([one, two]) != first


# --- the project's folder -----------------------------------------------------------


def test_root_is_the_chosen_folder_the_checkout_or_the_current_one(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAEBOOK_ROOT", "chosen")
    assert files.root() == tmp_path / "chosen"
    monkeypatch.delenv("CAEBOOK_ROOT")
    checkout = Path(files.__file__).parents[2]
    assert (checkout / "_config.yml").exists() and files.root() == checkout
    installed = tmp_path / "lib" / "site-packages" / "caebook" / "files.py"
    monkeypatch.setattr(files, "__file__", str(installed))
    assert files.root() == tmp_path
