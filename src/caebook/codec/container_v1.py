"""``.cae`` files of version 1: checking and reading them.

The end of ``book/format.md`` describes the layout. A file is read block by block, so
memory does not grow with the number of images.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from caebook.codec.blocks import BLOCK_IMAGES, BLOCK_NUMBERS
from caebook.codec.entropy import PRECISION, stream_lengths
from caebook.codec.model import Model
from caebook.codec.quantise import BITS
from caebook.errors import CorruptFile
from caebook.images import SIDE, slices

MAGIC = b"\x89CAE"
VERSION = 1
_QUANTISERS = {1: "uniform", 2: "lloyd-max"}
_CODERS = {1: "static", 2: "adaptive"}
# Magic, version, quantiser, bits, coder, precision, length of the model's id, two
# unused bytes, images, height, width, numbers in a code, checksum of the model.
_FIXED = struct.Struct("<4s6B2xI2HI8s")
_UINT32 = struct.Struct("<I")  # a block's length, and the CRC at the end
_CHECKSUM = 8  # bytes of the model's checksum that a file stores
_PART = 1 << 20  # bytes read at a time
_MODEL = re.compile(r"[a-z0-9+-]{1,200}:[a-z-]{1,20}[1-8]")


@dataclass(frozen=True)
class Header:
    """What a ``.cae`` file of version 1 declares.

    Attributes
    ----------
    version : int
        Of the format.
    model : str
        Name of the model that the file was written with; see `Model.id`.
    checksum : bytes
        The first 8 bytes of the model's checksum.
    quantiser, bits
        Kind of the quantiser, and bits of an index.
    coder : str
        Entropy coder, "static" or "adaptive".
    count : int
        Images, 1 or more.
    numbers : int
        Numbers in the code of an image.
    size : int
        Bytes of the whole file.
    """

    version: int
    model: str
    checksum: bytes
    quantiser: str
    bits: int
    coder: str
    count: int
    numbers: int
    size: int

    @property
    def length(self) -> int:
        """Bytes before the first block."""
        return _FIXED.size + len(self.model)

    @property
    def blocks(self) -> Iterator[int]:
        """Number of images in each block, which count and numbers determine."""
        size = max(1, min(BLOCK_IMAGES, BLOCK_NUMBERS // self.numbers))
        return (min(size, self.count - at) for at in range(0, self.count, size))


def read_header(file: BinaryIO) -> Header:
    """Check a file from the first byte to the last, and return what it declares.

    Neither images nor codes are decoded, and little of the file is in memory at a time.
    Afterwards the file's position is its first block.

    Parameters
    ----------
    file : binary file
        Seekable.

    Returns
    -------
    Header

    Raises
    ------
    CorruptFile
        If it is not a ``.cae`` file, of an unknown version, declares an invalid value,
        is shorter or longer than declared, or does not match its checksum.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(_FIXED.size)
    if start[: len(MAGIC)] != MAGIC:
        raise CorruptFile("this is not a .cae file")
    if len(start) > len(MAGIC) and start[len(MAGIC)] != VERSION:
        raise CorruptFile(
            f"this is a .cae file of version {start[len(MAGIC)]}, and this program "
            f"reads version {VERSION}"
        )
    if len(start) < _FIXED.size:
        raise CorruptFile(f"truncated: {size} bytes are less than a header")
    header = _unpack(start, file, size)
    _check_blocks(header, file)
    _check_crc(file, size)
    file.seek(header.length)
    return header


def _unpack(start: bytes, file: BinaryIO, size: int) -> Header:
    """Check each field of a header by itself."""
    (
        _, version, quantiser, bits, coder, precision, length,
        count, height, width, numbers, checksum,
    ) = _FIXED.unpack(start)  # fmt: skip
    model = file.read(length).decode("ascii", errors="replace")
    problems = {
        f"unknown quantiser {quantiser}": quantiser not in _QUANTISERS,
        f"{bits} bits for a number": bits not in BITS,
        f"unknown entropy coder {coder}": coder not in _CODERS,
        f"tables of {precision} bits": precision != PRECISION,
        "a value for its unused bytes": start[10:12] != b"\0\0",
        "no images": count == 0,
        f"images of {width}×{height} pixels": (width, height) != (SIDE, SIDE),
        "codes without numbers": numbers == 0,
        "an invalid name of a model": _MODEL.fullmatch(model) is None,
    }
    for problem, found in problems.items():
        if found:
            raise CorruptFile(f"the header declares {problem}")
    return Header(
        version, model, checksum, _QUANTISERS[quantiser], bits, _CODERS[coder],
        count, numbers, size,
    )  # fmt: skip


def _check_blocks(header: Header, file: BinaryIO) -> None:
    """Check that the blocks fill the file and have possible lengths."""
    position, end = header.length, header.size - _UINT32.size
    for index, count in enumerate(header.blocks):
        if position + _UINT32.size > end:  # also ends the loop for absurd counts
            raise CorruptFile(
                f"truncated: {header.count:,} images are declared, but the file ends "
                f"before block {index + 1}"
            )
        file.seek(position)
        (length,) = _UINT32.unpack(_read(file, _UINT32.size))
        position += _UINT32.size + length
        if position > end:
            raise CorruptFile(f"truncated: the file ends within block {index + 1}")
        if length not in stream_lengths(count * header.numbers):
            raise CorruptFile(
                f"block {index + 1} has {length:,} bytes, which is impossible for "
                f"{count:,} images of {header.numbers:,} numbers"
            )
    if position < end:
        raise CorruptFile(f"{end - position:,} more bytes than declared")


def _check_crc(file: BinaryIO, size: int) -> None:
    file.seek(0)
    left, crc = size - _UINT32.size, 0
    while left:
        part = _read(file, min(_PART, left))
        crc = zlib.crc32(part, crc)
        left -= len(part)
    if _read(file, _UINT32.size) != _UINT32.pack(crc):
        raise CorruptFile("damaged: its content does not match its checksum")


def _read(file: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, which were there when the file was opened."""
    content = file.read(size)
    if len(content) < size:
        raise CorruptFile("the file became shorter while it was read")
    return content


def decompressed(file: BinaryIO, header: Header, model: Model) -> Iterator[np.ndarray]:
    """Decompress the images of a file, some at a time.

    Parameters
    ----------
    file : binary file
        As `read_header` leaves it.
    header : Header
        From `read_header`.
    model : Model
        The one that the header names.

    Yields
    ------
    ndarray of uint8, shape (some, 28, 28)

    Raises
    ------
    CorruptFile
        If the file was written with another model, or a stream is damaged.
    CodecError
        If the model's decoder cannot be used.
    """
    _check_model(header, model)
    coder = model.coder(header.coder, version=1)
    for count in header.blocks:
        (length,) = _UINT32.unpack(_read(file, _UINT32.size))
        symbols = coder.decode(_read(file, length), count)
        for part in slices(count, 500):
            yield model.images(symbols[part])


def _check_model(header: Header, model: Model) -> None:
    wanted = (header.model, header.checksum.hex())
    given = (model.id, model.checksum[:_CHECKSUM].hex())
    if wanted != given:
        raise CorruptFile(
            f"written with the model {' '.join(wanted)}, not with {' '.join(given)}"
        )
    quantiser = model.quantiser
    declared = (header.quantiser, header.bits, header.numbers)
    if declared != (quantiser.kind, quantiser.bits, model.numbers):
        raise CorruptFile(
            f"the header declares {header.quantiser} levels of {header.bits} bits for "
            f"{header.numbers:,} numbers, which does not match the model {model.id}"
        )
