"""IDX files: every way in which one can be wrong."""

import gzip
import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest
from fakes import flipped, idx, put

from caebook.data.folders import find_file
from caebook.data.idx import idx_sha256, read_idx
from caebook.data.registry import IdxFile
from caebook.errors import DataError


@pytest.fixture(params=[(40, 28, 28), (40,)], ids=["images", "labels"])
def known(request):
    """An array, the bytes of its IDX file, and what is known of that file."""
    values = np.random.default_rng(0).integers(0, 256, request.param, np.uint8)
    raw = idx(values)
    file = IdxFile("a-idx-ubyte", values.shape, hashlib.sha256(raw).hexdigest())
    return values, raw, file


@pytest.mark.parametrize("gzipped", [True, False])
@pytest.mark.parametrize("name", ["a-idx-ubyte", "a.idx-ubyte"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_content_decides_whether_a_file_is_gzipped(
    known, tmp_path, gzipped, name, suffix
):
    values, raw, file = known
    put(tmp_path, {name + suffix: gzip.compress(raw) if gzipped else raw})
    path = find_file(tmp_path, file)
    assert path == tmp_path / (name + suffix)
    read = read_idx(path, file)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, values)


def test_a_file_that_is_not_there_is_not_found(known, tmp_path):
    file = known[2]
    assert find_file(tmp_path, file) is None
    with pytest.raises(DataError, match="missing; look for it"):
        read_idx(tmp_path / file.name, file, remedy="look for it")


def test_checksum_is_that_of_the_files_one_after_the_other(known):
    values, raw, _ = known
    assert idx_sha256(values, values) == hashlib.sha256(raw + raw).hexdigest()


def damaged_gzip(content):
    packed = bytearray(gzip.compress(content))
    packed[len(packed) // 2] ^= 0xFF
    return bytes(packed)


def wrong_trailer(content):
    packed = gzip.compress(content)
    return packed[:-8] + bytes(4) + packed[-4:]


SPOILT = {
    "empty": (lambda raw: b"", "truncated"),
    "short header": (lambda raw: raw[:7], "truncated"),
    "truncated": (lambda raw: raw[:-5], "truncated"),
    "truncated gzip": (lambda raw: gzip.compress(raw)[:-20], "truncated"),
    "corrupted gzip": (damaged_gzip, "corrupted|checksum|truncated|axes|shape"),
    "gzip checksum": (wrong_trailer, "corrupted"),
    "too long": (lambda raw: raw + b"x", "more than"),
    "too long gzip": (lambda raw: gzip.compress(raw + b"x"), "more than"),
    "another file": (lambda raw: b"<html>not found</html>" * 99, "not an IDX file"),
    "wrong shape": (lambda raw: raw[:4] + b"\0\0\0\x07" + raw[8:], "shape"),
    "huge shape": (lambda raw: raw[:4] + b"\xff" * (len(raw) - 4), "shape"),
    "wrong type": (lambda raw: raw[:2] + b"\x0d" + raw[3:], "not an IDX file"),
    "another image": (flipped, "checksum mismatch"),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_spoilt_file_is_named(known, tmp_path, spoil):
    _, raw, file = known
    change, message = SPOILT[spoil]
    path = tmp_path / file.name
    path.write_bytes(change(raw))
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, file)
    assert str(path) in str(caught.value)
    assert "replace it" in str(caught.value)


def test_a_folder_in_a_files_place_is_an_error(known, tmp_path):
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        read_idx(tmp_path, known[2])


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    """Reading it must need far less memory than it would unpack to."""
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        file.write(idx(np.zeros((2, 28, 28), np.uint8)))
        for _ in range(300):
            file.write(bytes(1 << 20))
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from caebook.data import idx\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    idx.read_idx(Path(sys.argv[1]), idx.IdxFile('bomb', (2, 28, 28)))\n"
        "except idx.DataError as error:\n"
        "    print(error)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print((after - before) * (1 if sys.platform == 'darwin' else 1024))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(bomb)],
        capture_output=True,
        text=True,
        check=True,
    )
    message, growth = run.stdout.splitlines()
    assert "more than the 1568 values" in message
    assert int(growth) < 50e6
