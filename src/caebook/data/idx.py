"""IDX files of uint8 values: reading them, and checking every byte.

An IDX file is a short header (type, number and lengths of the axes, big-endian) and
then the values, row by row. The files are accepted raw or gzipped, whatever their
names say, and are checked against the sha256 of their *uncompressed* bytes.
"""

import gzip
import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from caebook.errors import DataError

BLOCK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class IdxFile:
    """What one IDX file has to be.

    Attributes
    ----------
    name : str
        Official file name, without ".gz".
    shape : tuple of int
        (N, 28, 28) for images, (N,) for labels; values are uint8.
    sha256 : str or None
        Of the uncompressed bytes, header included; None where none is published.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str | None = None

    @property
    def header(self) -> bytes:
        """The header that a uint8 IDX file of this shape starts with."""
        return _header(self.shape)


def read_idx(
    path: Path,
    expected: IdxFile,
    *,
    remedy: str = "replace it with the original file",
) -> np.ndarray:
    """Read an IDX file that has to have a certain shape, raw or gzipped.

    Never more is decompressed than the expected size, so neither a wrong header nor
    a small file that unpacks to gigabytes can fill the memory.

    Parameters
    ----------
    path : Path
        The file; its first bytes tell whether it is gzipped.
    expected : IdxFile
        Its shape, and its checksum if one is known.
    remedy : str
        What the error message advises.

    Returns
    -------
    ndarray of uint8, shape ``expected.shape``

    Raises
    ------
    DataError
        If the file cannot be read, is damaged, too short, too long, of another
        shape, or has another checksum.
    """

    def wrong(what: str) -> DataError:
        return DataError(f"{path}: {what}; {remedy}")

    try:
        with path.open("rb") as raw:
            stream = _decompressed(raw)
            header = stream.read(len(expected.header))
            if header != expected.header:
                raise wrong(_describe_header(header, expected))
            values = np.empty(expected.shape, np.uint8)
            filled = _fill(stream, memoryview(values).cast("B"))
            if filled < values.size:
                raise wrong(f"truncated: {filled} of {values.size} values")
            # Asking for one byte more also makes gzip check its own checksum.
            if stream.read(1):
                raise wrong(f"holds more than the {values.size} values expected")
    except FileNotFoundError:
        raise wrong("missing") from None
    except EOFError:
        raise wrong("truncated: its gzip stream breaks off") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise wrong(f"corrupted: its gzip stream is damaged ({error})") from error
    except OSError as error:
        raise wrong(f"cannot be read ({error.strerror or error})") from error
    if expected.sha256 is not None and (found := idx_sha256(values)) != expected.sha256:
        raise wrong(
            f"checksum mismatch: sha256 of the uncompressed bytes is {found}, "
            f"expected {expected.sha256}"
        )
    return values


def find_idx(folder: Path, file: IdxFile) -> Path | None:
    """Find a file in a folder, raw or gzipped, under the names that it goes by.

    Returns
    -------
    Path or None
        None if it is not there. "-idx" in a name may be ".idx" instead.
    """
    for name in (file.name, file.name.replace("-idx", ".idx")):
        for path in (folder / f"{name}.gz", folder / name):
            if path.exists():
                return path
    return None


def idx_sha256(*arrays: np.ndarray) -> str:
    """Return the sha256 of arrays written as IDX files, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(_header(array.shape))
        digest.update(array)
    return digest.hexdigest()


def _header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an IDX file of uint8 values."""
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)


def _decompressed(raw: BinaryIO) -> BinaryIO:
    """Return the stream of uncompressed bytes of a raw or gzipped file."""
    gzipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if gzipped else raw


def _describe_header(header: bytes, expected: IdxFile) -> str:
    """Say what is wrong with a header."""
    if len(header) < len(expected.header):
        return f"truncated: only {len(header)} bytes"
    if header[:4] != expected.header[:4]:
        return (
            f"starts with {header[:4].hex(' ')}, which is no IDX file of uint8 with "
            f"{len(expected.shape)} axes"
        )
    sizes = struct.unpack(f">{len(expected.shape)}I", header[4:])
    return f"holds an array of shape {sizes}, expected {expected.shape}"


def _fill(stream: BinaryIO, buffer: memoryview) -> int:
    """Fill a buffer from a stream, and return how many bytes there were."""
    filled = 0
    while filled < len(buffer):
        block = stream.read(min(BLOCK, len(buffer) - filled))
        if not block:
            break
        buffer[filled : filled + len(block)] = block
        filled += len(block)
    return filled
