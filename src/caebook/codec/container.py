"""Whole ``.cae`` files: writing, checking and reading them.

``book/format.md`` describes the layout. A file is written and read block by block, so
memory does not grow with the number of images.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from caebook.codec.entropy import PRECISION, stream_lengths
from caebook.codec.locate import find_model
from caebook.codec.model import MODEL_ID, Model, Progress
from caebook.codec.quantise import BITS
from caebook.errors import CorruptFile
from caebook.images import SIDE, check_images, slices

#: Images that a file may declare unless more are allowed: 784 MB of them.
MAX_IMAGES = 1_000_000

MAGIC = b"\x89CAE"
VERSION = 1
_QUANTISER_IDS = {"uniform": 1, "lloyd-max": 2}
_CODER_IDS = {"static": 1, "adaptive": 2}
# Magic, version, quantiser, bits, coder, precision, length of the model's id, two
# unused bytes, images, height, width, numbers in a code, checksum of the model.
_FIXED = struct.Struct("<4s6B2xI2HI8s")
_UINT32 = struct.Struct("<I")  # a block's length, and the CRC at the end
_CHECKSUM = 8  # bytes of the model's checksum that a file stores
_PART = 1 << 20  # bytes read at a time

# A block's largest size bounds the memory, whatever a file declares.
BLOCK_IMAGES = 16_384
BLOCK_NUMBERS = 1 << 22


@dataclass(frozen=True)
class Header:
    """What a ``.cae`` file declares.

    Attributes
    ----------
    version : int
        Of the format.
    model : str
        Id of the model that the file was written with; see `Model.id`.
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

    def pack(self) -> bytes:
        """The header as bytes."""
        fields = _FIXED.pack(
            MAGIC,
            self.version,
            _QUANTISER_IDS[self.quantiser],
            self.bits,
            _CODER_IDS[self.coder],
            PRECISION,
            len(self.model),
            self.count,
            SIDE,
            SIDE,
            self.numbers,
            self.checksum,
        )
        return fields + self.model.encode("ascii")


def compressed(
    images: np.ndarray,
    model: Model,
    coder: str = "static",
    progress: Progress | None = None,
) -> Iterator[bytes]:
    """Compress images to the parts of a ``.cae`` file, one after the other.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 28, 28)
        1 to 2**32 - 1 of them; may be a memory map.
    model : Model
    coder : str
        "static", or "adaptive" for images unlike those the model was fitted to.
    progress : callable, optional
        Called with the number of images just done.

    Yields
    ------
    bytes
        At most a few megabytes, so that files of any length can be written.

    Raises
    ------
    TypeError, ValueError
        If the images are not like this, or the entropy coder is unknown.
    CodecError
        If the model's encoder cannot be used.
    """
    check_images(images)
    header = Header(
        version=VERSION,
        model=model.id,
        checksum=model.checksum[:_CHECKSUM],
        quantiser=model.quantiser.kind,
        bits=model.quantiser.bits,
        coder=coder,
        count=len(images),
        numbers=model.numbers,
        size=0,  # not known yet, and not written
    )
    entropy_coder = model.coder(coder)
    content = header.pack()
    crc = zlib.crc32(content)
    yield content
    start = 0
    for count in header.blocks:
        symbols = np.empty((count, model.numbers), np.uint8)
        for part in slices(count):
            symbols[part] = model.symbols(images[start : start + count][part])
            if progress is not None:
                progress(len(symbols[part]))
        start += count
        stream = entropy_coder.encode(symbols)
        content = _UINT32.pack(len(stream)) + stream
        crc = zlib.crc32(content, crc)
        yield content
    yield _UINT32.pack(crc)


def compress(images: np.ndarray, model: Model, coder: str = "static") -> bytes:
    """Images → the bytes of a ``.cae`` file; parameters and errors as `compressed`."""
    return b"".join(compressed(images, model, coder))


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
    quantisers = {number: name for name, number in _QUANTISER_IDS.items()}
    coders = {number: name for name, number in _CODER_IDS.items()}
    model = file.read(length).decode("ascii", errors="replace")
    problems = {
        f"unknown quantiser {quantiser}": quantiser not in quantisers,
        f"{bits} bits for a number": bits not in BITS,
        f"unknown entropy coder {coder}": coder not in coders,
        f"tables of {precision} bits": precision != PRECISION,
        "a value for its unused bytes": start[10:12] != b"\0\0",
        "no images": count == 0,
        f"images of {width}×{height} pixels": (width, height) != (SIDE, SIDE),
        "codes without numbers": numbers == 0,
        "an invalid name of a model": MODEL_ID.fullmatch(model) is None,
    }
    for problem, found in problems.items():
        if found:
            raise CorruptFile(f"the header declares {problem}")
    return Header(
        version, model, checksum, quantisers[quantiser], bits, coders[coder],
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


def decompressed(
    file: BinaryIO,
    header: Header,
    model: Model,
    max_images: int = MAX_IMAGES,
) -> Iterator[np.ndarray]:
    """Decompress the images of a ``.cae`` file, some at a time.

    Parameters
    ----------
    file : binary file
        As `read_header` leaves it.
    header : Header
        From `read_header`.
    model : Model
        The one that the header names; see `find_model`.
    max_images : int
        A few bytes can stand for very many images; files that declare more than this
        are refused.

    Yields
    ------
    ndarray of uint8, shape (some, 28, 28)

    Raises
    ------
    CorruptFile
        If the file was written with another model, declares more than `max_images`, or
        a stream is damaged.
    CodecError
        If the model's decoder cannot be used.
    """
    _check_model(header, model)
    if header.count > max_images:
        raise CorruptFile(
            f"{header.count:,} images are declared, and the limit is {max_images:,} "
            "(--max-images, max_images)"
        )
    coder = model.coder(header.coder)
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


def decompress(
    content: bytes, model: Model | None = None, max_images: int = MAX_IMAGES
) -> np.ndarray:
    """The bytes of a ``.cae`` file → images, uint8 (N, 28, 28).

    Parameters
    ----------
    content : bytes
    model : Model, optional
        By default the one that the file names; see `find_model`.
    max_images : int
        As in `decompressed`.

    Raises
    ------
    CorruptFile
        If the content is damaged, or not that of a ``.cae`` file; see `decompressed`.
    CodecError
        If the model that the file names is not available.
    """
    file = io.BytesIO(content)
    header = read_header(file)
    if model is None:
        model = find_model(header.model, header.checksum)
    pixels = bytearray()  # grows with what is decoded, not with what is declared
    for images in decompressed(file, header, model, max_images):
        pixels += images.data
    return np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)
