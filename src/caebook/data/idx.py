"""IDX files of uint8 values: reading them, and checking every byte.

An IDX file is a short header (type, number and lengths of the axes, big-endian) and
then the values, row by row. A file may be raw or gzipped, whatever its name says, and
is checked against the sha256 of its *uncompressed* bytes.
"""

import gzip
import hashlib
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from caebook.data.registry import IdxFile
from caebook.errors import DataError

BLOCK = 1 << 20  # bytes read at a time


def read_idx(
    path: Path,
    expected: IdxFile,
    *,
    label: str | None = None,
    remedy: str = "replace it with the original file",
) -> np.ndarray:
    """Read an IDX file of a known shape, raw or gzipped.

    No more than the expected size is decompressed: neither a wrong header nor a small
    file that unpacks to gigabytes can fill the memory.

    Parameters
    ----------
    path : Path
        The file; its first bytes decide whether it is read as gzip.
    expected : IdxFile
        Its shape, and its checksum if one is known.
    label : str, optional
        What the error message calls the file; its path by default.
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
        return DataError(f"{label or path}: {what}; {remedy}")

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


def idx_sha256(*arrays: np.ndarray) -> str:
    """Return the sha256 of arrays written as IDX files, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(IdxFile("", array.shape).header)
        digest.update(array)
    return digest.hexdigest()


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
            f"not an IDX file of uint8 with {len(expected.shape)} axes (it starts with "
            f"{header[:4].hex(' ')})"
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
