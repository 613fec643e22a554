"""The bytes of a ``.cae`` file, version 2: a header, then blocks with checksums.

``book/format.md`` describes them. They are written and read strictly forwards, so a
file can go through a pipe, and everything before a damage can be used.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from caebook.codec.entropy import stream_lengths
from caebook.errors import CorruptFile

MAGIC = b"\x89CAE"
VERSION = 2
PREFIX = 4  # bytes of a model's id that a file holds

# Kinds of blocks.
END, IMAGES, NAMES, MODEL = range(4)
_LAST, _OPTIONAL = 0x40, 0x80  # flags beside the kind
_KIND = 0x3F

# A block's largest size bounds the memory, whatever a file declares.
BLOCK_IMAGES = 16_384
BLOCK_NUMBERS = 1 << 22
NAME_BYTES = 255  # of a file name, and of a model's
_LARGEST = {
    END: 0,
    IMAGES: 3 + max(stream_lengths(BLOCK_NUMBERS)),
    NAMES: 2 * BLOCK_IMAGES * (NAME_BYTES + 1),
    MODEL: NAME_BYTES,
}
_PART = 1 << 20  # bytes of an unknown block that are read at a time

_CODER_IDS = {"static": 1, "adaptive": 2}
_CODERS = {number: name for name, number in _CODER_IDS.items()}
_FIELDS = 1 + PREFIX  # bytes of the header after its length: coder, model


@dataclass(frozen=True)
class Header:
    """What the first bytes of a file declare.

    Attributes
    ----------
    coder : str
        Entropy coder, "static" or "adaptive".
    prefix : bytes
        The first `PREFIX` bytes of the model's id.
    length : int
        Bytes of the header.
    """

    coder: str
    prefix: bytes
    length: int = len(MAGIC) + 2 + _FIELDS
    version: int = VERSION

    @property
    def model(self) -> str:
        """The model's short id: hexadecimal digits."""
        return self.prefix.hex()


@dataclass(frozen=True)
class Block:
    """A block whose checksum fits.

    Attributes
    ----------
    kind : int
    payload : bytes
        Empty for an unknown, optional block.
    size : int
        Bytes in the file.
    """

    kind: int
    payload: bytes
    size: int


class Writer:
    """Makes a file's bytes, block by block."""

    def __init__(self) -> None:
        self._crc = 0

    def header(self, coder: str, digest: bytes) -> bytes:
        """The header of a file whose model has this id."""
        fields = bytes([_CODER_IDS[coder]]) + digest[:PREFIX]
        return self._counted(MAGIC + bytes([VERSION, len(fields)]) + fields)

    def block(
        self, kind: int, payload: bytes, last: bool = False, optional: bool = False
    ) -> bytes:
        """A block; `optional` if a reader that does not know its kind may skip it."""
        flags = _LAST * last | _OPTIONAL * optional
        content = bytes([kind | flags]) + varint(len(payload)) + payload
        return self._counted(content) + self._crc.to_bytes(4, "little")

    def _counted(self, content: bytes) -> bytes:
        self._crc = zlib.crc32(content, self._crc)
        return content


class Reader:
    """Reads a file from its first byte to its last; it does not seek.

    Parameters
    ----------
    file : binary file
        A pipe will do.

    Attributes
    ----------
    header : Header
    position : int
        Bytes read and found sound so far.

    Raises
    ------
    CorruptFile
        If it does not start with a valid header.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._crc = file, 0
        self.position = 0
        if self._take(len(MAGIC)) != MAGIC:
            raise CorruptFile("this is not a .cae file")
        version, length = self._take(2, "the header")
        if version == 1:
            raise CorruptFile("this is a .cae file of version 1; no pipe can hold one")
        if version != VERSION:
            raise CorruptFile(
                f"this is a .cae file of version {version}, and this program reads "
                f"versions 1 and {VERSION}"
            )
        fields = self._take(length, "the header")
        if length < _FIELDS:
            raise CorruptFile(f"the header declares {length} bytes, too few")
        if fields[0] not in _CODERS:
            raise CorruptFile(f"the header declares unknown entropy coder {fields[0]}")
        self.position = len(MAGIC) + 2 + length
        self.header = Header(_CODERS[fields[0]], fields[1:_FIELDS], self.position)

    def blocks(self) -> Iterator[Block]:
        """The blocks one after the other, each as soon as its checksum has been seen.

        Raises
        ------
        CorruptFile
            At the first block that is damaged, unknown and not optional, or missing.
        """
        last, number = False, 0
        while not last:
            number += 1
            what = f"block {number}"
            (first,) = self._take(1, f"or before {what}")
            last = bool(first & _LAST)
            yield self._block(first, what)
        if self._file.read(1):
            raise CorruptFile("there are more bytes after the last block")

    def _block(self, first: int, what: str) -> Block:
        kind, optional = first & _KIND, bool(first & _OPTIONAL)
        length, digits = self._varint(what)
        if length > _LARGEST.get(kind, length):
            raise CorruptFile(f"{what} declares {length:,} bytes, which is impossible")
        payload = b""
        if kind in _LARGEST:
            payload = self._take(length, what)
        else:  # passed over in parts: it may be longer than the memory
            for start in range(0, length, _PART):
                self._take(min(_PART, length - start), what)
        crc = self._crc
        if self._take(4, what, counted=False) != crc.to_bytes(4, "little"):
            raise CorruptFile(f"{what} is damaged: it does not match its checksum")
        if kind not in _LARGEST and not optional:
            raise CorruptFile(
                f"{what} is of kind {kind}, which this program does not know and which "
                "a reader must know; a newer version of caebook may read it"
            )
        size = 1 + digits + length + 4
        self.position += size
        return Block(kind, payload, size)

    def _varint(self, what: str) -> tuple[int, int]:
        """A number of one to five bytes, and how many."""
        content = b""
        while not content or content[-1] & 0x80:
            if len(content) == LONGEST_VARINT:
                raise CorruptFile(f"{what} declares an invalid length")
            content += self._take(1, what)
        return parse_varint(content, what)

    def _take(self, size: int, what: str = "", counted: bool = True) -> bytes:
        """The next bytes; an error if there are fewer, unless `what` is empty."""
        content = b""
        while len(content) < size:  # a pipe may give less than was asked for
            part = self._file.read(size - len(content))
            if not part and what:
                raise CorruptFile(f"truncated: the file ends within {what}")
            if not part:
                break
            content += part
        if counted:
            self._crc = zlib.crc32(content, self._crc)
        return content


LONGEST_VARINT = 5


def varint(number: int) -> bytes:
    """A whole number in base 128, lowest digit first; bit 7 says that more follow."""
    content = bytearray()
    while number >= 0x80:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*content, number])


def parse_varint(content: bytes, what: str) -> tuple[int, int]:
    """The number at the start of `content`, and how many bytes it has.

    Raises
    ------
    CorruptFile
        If it does not end, or has more bytes than it needs.
    """
    number = 0
    for index, byte in enumerate(content[:LONGEST_VARINT]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if byte == 0 and index:
                break
            return number, index + 1
    raise CorruptFile(f"{what} holds an invalid number")


def pack_images(count: int, stream: bytes) -> bytes:
    """The payload of a block of images."""
    return varint(count) + stream


def parse_images(payload: bytes) -> tuple[int, bytes]:
    """Number of images in a block, and their stream; CorruptFile if impossible."""
    count, used = parse_varint(payload, "a block of images")
    if not 1 <= count <= BLOCK_IMAGES:
        raise CorruptFile(f"a block declares {count:,} images, which is impossible")
    return count, payload[used:]


def pack_names(names: Sequence[str]) -> bytes:
    """The payload of a block of names."""
    return zlib.compress("\n".join(names).encode(), 9)


def parse_names(payload: bytes) -> list[str]:
    """The names in a block; CorruptFile if it is invalid."""
    inflating = zlib.decompressobj()
    try:
        content = inflating.decompress(payload, BLOCK_IMAGES * (NAME_BYTES + 1))
        if not inflating.eof or inflating.unused_data:
            raise CorruptFile("a block of names does not end where it should")
        return content.decode().split("\n")
    except (zlib.error, UnicodeDecodeError) as error:
        raise CorruptFile(f"a block of names is damaged: {error}") from error
