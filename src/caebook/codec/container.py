"""Whole ``.cae`` files: writing, checking and reading them.

``book/format.md`` describes the layout, and `blocks` its bytes. A file is written and
read block by block, so memory does not grow with the number of images. Files of version
1, which `container_v1` reads, can be read but are not written any more.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from caebook.codec import blocks, container_v1, names
from caebook.codec.blocks import BLOCK_IMAGES, BLOCK_NUMBERS
from caebook.codec.locate import find_model
from caebook.codec.model import Model, Progress
from caebook.errors import CodecError, CorruptFile
from caebook.images import SIDE, check_images, slices

#: Images that a file may hold unless more are allowed: 784 MB of them.
MAX_IMAGES = 1_000_000

#: Files of so many images hold the model's name, which is no half percent of them.
NAMED = 1_000

Header = blocks.Header | container_v1.Header


@dataclass(frozen=True)
class Contents:
    """What is in a file.

    Attributes
    ----------
    header : Header
        Of version 1 or 2.
    size : int
        Bytes of the file, as far as it is sound.
    counts : tuple of int
        Images in each sound block of images.
    names : list of str or None
        Of the images' files, fit to be used; None if there are none.
    problem : str
        Why the names that are there are not used; "" if there is no reason.
    names_size : int
        Bytes of the blocks of names.
    label : str
        Name of the model, if the file holds it.
    damage : str
        Why the rest of the file cannot be read; "" for a sound file.
    """

    header: Header
    size: int
    counts: tuple[int, ...]
    names: list[str] | None = None
    problem: str = ""
    names_size: int = 0
    label: str = ""
    damage: str = ""

    @property
    def count(self) -> int:
        """Images in all sound blocks."""
        return sum(self.counts)


# --- writing ----------------------------------------------------------------------


def compressed(
    images: np.ndarray,
    model: Model,
    coder: str = "static",
    progress: Progress | None = None,
    block: int = BLOCK_IMAGES,
    file_names: Sequence[str] | None = None,
) -> Iterator[bytes]:
    """Compress images to the parts of a ``.cae`` file, one after the other.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 28, 28)
        1 or more; may be a memory map.
    model : Model
    coder : str
        "static", or "adaptive" for images unlike those the model was fitted to.
    progress : callable, optional
        Called with the number of images just done.
    block : int
        Images in a block, 16,384 at most. A damaged file can be read up to the damaged
        block; smaller ones take more bytes and time.
    file_names : sequence of str, optional
        One for each image; see `caebook.codec.names.problem`.

    Yields
    ------
    bytes
        At most a few megabytes, so that files of any length can be written.

    Raises
    ------
    TypeError, ValueError
        If the images are not like this, the entropy coder is unknown, or names or block
        are invalid.
    CodecError
        If the model's encoder cannot be used, or its id is not known.
    """
    check_images(images)
    if block not in range(1, BLOCK_IMAGES + 1):
        raise ValueError(f"a block of {block} images; choose 1 to {BLOCK_IMAGES:,}")
    if file_names is not None and (reason := names.problem(file_names)):
        raise ValueError(f"the names cannot be written: {reason}")
    if file_names is not None and len(file_names) != len(images):
        raise ValueError(f"{len(file_names)} names for {len(images)} images")
    model.coder(coder)  # before anything is written, an error if it is unknown
    writer = blocks.Writer()
    yield writer.header(coder, model.digest)
    if len(images) >= NAMED:
        yield writer.block(blocks.MODEL, model.id.encode(), optional=True)
    size = min(block, _most(model.numbers))
    for start in range(0, len(images), size):
        given = images[start : start + size]
        if file_names is not None:
            payload = blocks.pack_names(file_names[start : start + size])
            yield writer.block(blocks.NAMES, payload, optional=True)
        symbols = np.empty((len(given), model.numbers), np.uint8)
        for part in slices(len(given)):
            symbols[part] = model.symbols(given[part])
            if progress is not None:
                progress(len(symbols[part]))
        stream = model.coder(coder).encode(symbols)
        payload = blocks.pack_images(len(given), stream)
        last = start + size >= len(images)
        yield writer.block(blocks.IMAGES, payload, last)


def _most(numbers: int) -> int:
    """Images that a block may hold."""
    return max(1, min(BLOCK_IMAGES, BLOCK_NUMBERS // numbers))


def compress(images: np.ndarray, model: Model, coder: str = "static") -> bytes:
    """Images → the bytes of a ``.cae`` file; parameters and errors as `compressed`."""
    return b"".join(compressed(images, model, coder))


# --- checking ---------------------------------------------------------------------


def examine(file: BinaryIO, salvage: bool = False) -> Contents:
    """Check a file from the first byte to the last, without decoding images.

    Parameters
    ----------
    file : binary file
        Seekable only if it may be of version 1.
    salvage : bool
        Return what comes before a damage instead of raising an error, if the header is
        sound. In version 1, one checksum covers the whole file, so nothing is certain.

    Returns
    -------
    Contents

    Raises
    ------
    CorruptFile
        If it is not a ``.cae`` file, of an unknown version, or damaged.
    """
    if _is_version_1(file):
        header = container_v1.read_header(file)
        return Contents(header, header.size, tuple(header.blocks))
    reader = blocks.Reader(file)
    counts, found, label, names_size, damage = [], [], "", 0, ""
    pending = None  # names of the next block of images
    try:
        for block in reader.blocks():
            if block.kind == blocks.IMAGES:
                counts.append(blocks.parse_images(block.payload)[0])
                found.append((counts[-1], pending))
                pending = None
            elif block.kind == blocks.NAMES:
                pending, names_size = block.payload, names_size + block.size
            elif block.kind == blocks.MODEL:
                label = block.payload.decode("ascii", errors="replace")
        if not counts:
            raise CorruptFile("the file holds no images")
    except CorruptFile as error:
        if not salvage:
            raise
        damage = str(error)
    file_names, problem = _names(found)
    return Contents(
        reader.header, reader.position, tuple(counts), file_names, problem,
        names_size, label if label.isprintable() else "", damage,
    )  # fmt: skip


def _names(found: list[tuple[int, bytes | None]]) -> tuple[list[str] | None, str]:
    """The names in a file's blocks, or why they cannot be used."""
    if all(payload is None for _, payload in found):
        return None, ""
    listed = []
    try:
        for count, payload in found:
            part = [] if payload is None else blocks.parse_names(payload)
            if len(part) != count:
                return None, f"there are {len(part):,} names for {count:,} images"
            listed += part
    except CorruptFile as error:
        return None, str(error)
    reason = names.problem(listed)
    return (None, reason) if reason else (listed, "")


def sound_streams(file: BinaryIO, contents: Contents, model: Model) -> Contents:
    """The contents up to the first stream that is not one of the model's.

    Checksums find accidents, so this finds forgeries and faults of the writer.

    Parameters
    ----------
    file : binary file
        Seekable.
    contents : Contents
        From `examine`, of a file of version 2.
    model : Model
    """
    file.seek(0)
    counts = []
    try:
        for symbols in _symbols(blocks.Reader(file), model, len(contents.counts)):
            counts.append(len(symbols))
    except CorruptFile as error:
        found = contents.names and contents.names[: sum(counts)]
        return replace(contents, counts=tuple(counts), names=found, damage=str(error))
    return contents


# --- reading ----------------------------------------------------------------------


def decompressed(
    file: BinaryIO,
    model: Model | None = None,
    max_images: int = MAX_IMAGES,
    stop: int | None = None,
) -> Iterator[np.ndarray]:
    """Decompress the images of a ``.cae`` file, some at a time, reading forwards.

    Images come as soon as their block's checksum has been seen; a damage further on
    raises the error when the iterator gets there.

    Parameters
    ----------
    file : binary file
        At its start. Seekable only if it may be of version 1.
    model : Model, optional
        By default the one that the file names; see `model_of`.
    max_images : int
        A few bytes can stand for very many images; files that hold more than this are
        refused.
    stop : int, optional
        Read so many blocks of images only.

    Yields
    ------
    ndarray of uint8, shape (some, 28, 28)

    Raises
    ------
    CorruptFile
        If the file is damaged or invalid, was written with another model, or holds
        more than `max_images`.
    CodecError
        If the model is not available, or its decoder cannot be used.
    """
    if _is_version_1(file):
        header = container_v1.read_header(file)
        check_count(header.count, max_images)
        yield from container_v1.decompressed(file, header, model or model_of(header))
        return
    reader = blocks.Reader(file)
    model = model or model_of(reader.header)
    count = 0
    for symbols in _symbols(reader, model, stop, max_images):
        count += len(symbols)
        for part in slices(len(symbols), 500):
            yield model.images(symbols[part])
    if not count and stop is None:
        raise CorruptFile("the file holds no images")


def _symbols(
    reader: blocks.Reader,
    model: Model,
    stop: int | None = None,
    max_images: int | None = None,
) -> Iterator[np.ndarray]:
    """The indices in each block of images, uint8 (some, n)."""
    header = reader.header
    if not model.digest.startswith(header.prefix):
        raise CorruptFile(
            f"written with the model {header.model}, not with {model.short_id} "
            f"({model.id})"
        )
    if stop == 0:
        return
    total, done = 0, 0
    for block in reader.blocks():
        if block.kind != blocks.IMAGES:
            continue
        count, stream = blocks.parse_images(block.payload)
        total += count
        if max_images is not None:
            check_count(total, max_images)
        if count > _most(model.numbers):
            raise CorruptFile(
                f"a block declares {count:,} images, and {model.numbers:,} numbers "
                "each are too many"
            )
        yield model.coder(header.coder).decode(stream, count)
        done += 1
        if done == stop:
            return


def decompress(
    content: bytes, model: Model | None = None, max_images: int = MAX_IMAGES
) -> np.ndarray:
    """The bytes of a ``.cae`` file → images, uint8 (N, 28, 28).

    Parameters and errors as `decompressed`; nothing is decoded of a damaged file.
    """
    file = io.BytesIO(content)
    check_count(examine(file).count, max_images)
    file.seek(0)
    pixels = bytearray()
    for images in decompressed(file, model, max_images):
        pixels += images.data
    return np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)


def check_count(count: int, max_images: int) -> None:
    """Raise CorruptFile if there are more images than allowed."""
    if count > max_images:
        raise CorruptFile(
            f"{count:,} images are declared, and the limit is {max_images:,} "
            "(--max-images, max_images)"
        )


def model_of(header: Header, label: str = "") -> Model:
    """Find the model that a file was written with.

    Parameters
    ----------
    header : Header
    label : str
        The model's name, if it is known; for the error message.

    Raises
    ------
    CodecError
        If it is not available, or several have ids that start like the file's.
    """
    if isinstance(header, container_v1.Header):
        return find_model(header.model, header.checksum)
    try:
        return find_model(header.model)
    except CodecError as error:
        if not label:
            raise
        raise CodecError(f"{error}; the file says that it is {label}") from error


def _is_version_1(file: BinaryIO) -> bool:
    """Look whether a file is of version 1; one that cannot seek is taken for newer."""
    if not file.seekable():
        return False
    start = file.read(len(blocks.MAGIC) + 1)
    file.seek(-len(start), os.SEEK_CUR)
    return start == blocks.MAGIC + b"\x01"
