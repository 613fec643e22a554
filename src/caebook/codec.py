"""The codec: images → codes → whole numbers → bytes, and back.

A trained autoencoder makes numbers of an image, not bytes. Three steps are added here:

- a `Quantiser` (`uniform` or `lloyd_max`) rounds each number to one of a few levels;
- an entropy coder (`StaticCoder` or `AdaptiveCoder`) turns the levels' indices into
  bytes, fewer for what is frequent;
- a `Model` puts a run, a quantiser and the coder's tables together, and `compress` and
  `decompress` work with whole ``.cae`` files, whose layout is in ``book/format.md``.

Everything between the indices and the bytes is whole-number arithmetic, so the same
bytes give the same codes on every machine.

The entropy coder is a range asymmetric numeral system (Duda, 2013, arXiv:1311.2540),
interleaved (Giesen, 2014, arXiv:1402.3392) so that NumPy works on many symbols at a
time. It is our own because a file's tables must be whole numbers: the libraries for
Python take probabilities as floats, and how those are rounded is up to their version.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from caebook import metrics, runs
from caebook.idx import BLOCK, DataError
from caebook.pictures import replacing
from caebook.profiles import root
from caebook.runs import Run, RunError
from caebook.training import check_images, slices

__all__ = [
    "CODERS",
    "DEFAULT_MODEL",
    "MAX_IMAGES",
    "QUANTISERS",
    "AdaptiveCoder",
    "CodecError",
    "CorruptFile",
    "Header",
    "Model",
    "Quantiser",
    "StaticCoder",
    "compress",
    "compressed",
    "count_levels",
    "decompress",
    "decompressed",
    "find_model",
    "fit",
    "frequencies",
    "ideal_bits",
    "list_models",
    "lloyd_max",
    "package",
    "read_header",
    "read_run",
    "uniform",
]

#: The model that is used when none is named; it comes with the package.
DEFAULT_MODEL = "code16-keras-mnist-s0:lloyd-max4"

#: Images that a file may declare before reading it must be asked for: 784 MB of them.
MAX_IMAGES = 1_000_000

MODELS_FOLDER = Path(__file__).with_name("models")

Progress = Callable[[int], object]  # is told how many more images are done


class CodecError(DataError):
    """Something cannot be compressed or decompressed; the message says why."""


class CorruptFile(CodecError):
    """A file or stream is damaged, or not what it claims to be."""


# --- quantisers -------------------------------------------------------------------

SAMPLE = 1 << 22  # numbers that a quantiser is fitted to, at most
TAIL = 1e-3  # part of the numbers at either end that the uniform levels leave out
LLOYD_STEPS = 1_000


@dataclass(frozen=True, eq=False)
class Quantiser:
    """Rounds numbers to the nearest of a few levels.

    Attributes
    ----------
    kind : str
        How the levels were chosen, a key of `QUANTISERS`.
    levels : ndarray of float32, shape (2**bits,)
        Ascending; `bits` is 1 to 8. What lies outside is clipped to the ends.

    Raises
    ------
    ValueError
        If the levels are not like this.
    """

    kind: str
    levels: np.ndarray

    def __post_init__(self) -> None:
        levels = self.levels
        if self.kind not in QUANTISERS:
            raise ValueError(f"quantiser {self.kind!r} is none of {list(QUANTISERS)}")
        if levels.dtype != np.float32 or levels.shape not in {(1 << b,) for b in _BITS}:
            raise ValueError(
                "levels must be 2, 4, 8 … 256 float32 numbers, not "
                f"{levels.dtype} {levels.shape}"
            )
        if not (np.isfinite(levels).all() and (np.diff(levels) > 0).all()):
            raise ValueError("levels must be finite and ascending")

    @property
    def bits(self) -> int:
        """Bits that an index takes without entropy coding, 1 to 8."""
        return len(self.levels).bit_length() - 1

    @cached_property
    def thresholds(self) -> np.ndarray:
        """Midpoints between the levels, float32; a number on one goes up."""
        middle = (self.levels[1:].astype(float) + self.levels[:-1]) / 2
        return middle.astype(np.float32)

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Codes, float32 (N, …) → indices of the nearest levels, uint8 (N, n).

        Raises
        ------
        ValueError
            If there is a NaN among the numbers.
        """
        if codes.dtype != np.float32 or codes.ndim < 2:
            raise ValueError(
                f"codes must be float32 (N, …), not {codes.dtype} {codes.shape}"
            )
        symbols = np.empty((len(codes), math.prod(codes.shape[1:])), np.uint8)
        for part in slices(len(codes)):
            if np.isnan(codes[part]).any():
                raise ValueError("the codes hold NaN, which has no nearest level")
            flat = codes[part].reshape(-1, symbols.shape[1])
            symbols[part] = np.searchsorted(self.thresholds, flat, side="right")
        return symbols

    def decode(self, symbols: np.ndarray) -> np.ndarray:
        """Indices, uint8 of any shape → levels, float32 of the same shape."""
        return self.levels[symbols]


def uniform(codes: np.ndarray, bits: int, tail: float = TAIL) -> Quantiser:
    """Levels at equal distances, from the lowest to the highest of the codes.

    Parameters
    ----------
    codes : ndarray of float
        Codes of training images, any shape.
    bits : int
        1 to 8, for 2 to 256 levels.
    tail : float
        Part of the numbers at either end that the levels need not reach, 0 to below
        0.5: a single outlier would move all levels apart.

    Returns
    -------
    Quantiser
    """
    return Quantiser("uniform", _equal_steps(_sample(codes, bits), bits, tail))


def lloyd_max(codes: np.ndarray, bits: int) -> Quantiser:
    """Levels that make the squared error on the codes small.

    Each level is the mean of the numbers that are rounded to it, each threshold the
    middle between two levels: repeating both in turn never makes the error larger
    (Lloyd, 1982, doi:10.1109/TIT.1982.1056489; Max, 1960). Where that ends depends on
    where it starts, so it starts once from equal steps and once from the cells that
    come of dividing the worst one, again and again.

    Parameters
    ----------
    codes, bits
        As for `uniform`.

    Returns
    -------
    Quantiser
        No worse than `uniform` on these codes.
    """
    values = np.sort(_sample(codes, bits).astype(float))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    starts = [_equal_steps(values, bits, TAIL).astype(float)]
    starts.append(_divided(values, sums, 1 << bits))
    found = [_lloyd(values, sums, start) for start in starts]
    _, levels = min(found, key=lambda result: result[0])
    return Quantiser("lloyd-max", levels.astype(np.float32))


_BITS = range(1, 9)
#: The kinds of quantiser, each by the function that fits one to training codes.
QUANTISERS = {"uniform": uniform, "lloyd-max": lloyd_max}


def _sample(codes: np.ndarray, bits: int) -> np.ndarray:
    """Check what a quantiser is fitted to, and take no more of it than needed."""
    if bits not in _BITS:
        raise ValueError(f"bits={bits!r} must be a whole number from 1 to 8")
    flat = np.asarray(codes).reshape(-1)
    if flat.size == 0 or not np.isfinite(flat).all():
        raise ValueError("a quantiser needs codes to fit to, all of them finite")
    if flat.size > SAMPLE:  # at random: equal steps would always hit the same channels
        flat = flat[np.random.default_rng(0).integers(flat.size, size=SAMPLE)]
    return flat


def _equal_steps(values: np.ndarray, bits: int, tail: float) -> np.ndarray:
    low, high = np.quantile(values, [tail, 1 - tail])
    if np.float32(low) == np.float32(high):  # most of them are the same number
        low, high = values.min(), values.max()
    if np.float32(low) == np.float32(high):  # all of them: a network that died
        high = low + max(1.0, abs(low))
    return np.linspace(low, high, 1 << bits, dtype=np.float32)


def _divided(values: np.ndarray, sums: np.ndarray, count: int) -> np.ndarray:
    """Means of `count` cells of sorted values; the worst is divided at its mean."""
    squares = np.concatenate([[0.0], np.cumsum(np.square(values))])
    bounds = np.array([0, len(values)])
    while True:
        means = np.diff(sums[bounds]) / np.diff(bounds)
        if len(means) == count:
            return means
        errors = np.diff(squares[bounds]) - np.diff(sums[bounds]) * means
        same = values[bounds[:-1]] == values[bounds[1:] - 1]
        worst = np.where(same, -1, errors).argmax()
        if same[worst]:  # fewer values than levels: what is left lies above them all
            step = max(1.0, abs(means[-1]))
            spare = np.arange(1, count - len(means) + 1) * step
            return np.concatenate([means, means[-1] + spare])
        first, last = bounds[worst : worst + 2]
        cut = first + np.searchsorted(values[first:last], means[worst])
        bounds = np.insert(bounds, worst + 1, min(max(cut, first + 1), last - 1))


def _lloyd(
    values: np.ndarray, sums: np.ndarray, levels: np.ndarray
) -> tuple[float, np.ndarray]:
    """Improve levels for sorted values; return the mean squared error with them."""

    def cells(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        middle = (levels[1:] + levels[:-1]) / 2
        bounds = np.searchsorted(values, middle)
        bounds = np.concatenate([[0], bounds, [len(values)]])
        return np.diff(bounds), np.diff(sums[bounds])

    for _ in range(LLOYD_STEPS):
        counts, totals = cells(levels)
        # A level that nothing is rounded to stays where it is.
        better = np.where(counts > 0, totals / np.maximum(counts, 1), levels)
        moved = np.abs(better - levels).max()
        levels = better
        if moved <= 1e-6 * (levels[-1] - levels[0]):
            break
    counts, totals = cells(levels)
    error = np.square(values).sum() - (2 * levels * totals - counts * levels**2).sum()
    return error / len(values), levels


# --- tables -----------------------------------------------------------------------

PRECISION = 16  # the frequencies of a table add up to 2**16
_TOTAL = 1 << PRECISION


def count_levels(symbols: np.ndarray, levels: int) -> np.ndarray:
    """How often each level occurs at each position.

    Parameters
    ----------
    symbols : ndarray of uint8, shape (N, n)
        Indices below `levels`.
    levels : int

    Returns
    -------
    ndarray of int64, shape (n, levels)
    """
    numbers = symbols.shape[1]
    _check_symbols(symbols, numbers, levels)
    counts = np.zeros(numbers * levels, np.int64)
    offsets = np.arange(numbers) * levels
    for part in slices(len(symbols)):
        places = (symbols[part] + offsets).ravel()
        counts += np.bincount(places, minlength=counts.size)
    return counts.reshape(numbers, levels)


def frequencies(counts: np.ndarray) -> np.ndarray:
    """Turn counts into an entropy coder's table, in whole-number arithmetic alone.

    Parameters
    ----------
    counts : ndarray of int64, shape (n, K)
        0 or more, one or more a row; K is 2 to 256.

    Returns
    -------
    ndarray of uint16, shape (n, K)
        Each row adds up to 65,536. None is below 1, or a level that has not occurred
        yet could not be coded at all.
    """
    if counts.min() < 0 or (counts.sum(axis=1) < 1).any():
        raise ValueError("counts must not be negative, and a row not all 0")
    free = _TOTAL - counts.shape[1]
    tables = 1 + counts * free // counts.sum(axis=1, keepdims=True)
    rest = _TOTAL - tables.sum(axis=1)  # of rounding down; the most frequent takes it
    tables[np.arange(len(tables)), tables.argmax(axis=1)] += rest
    return tables.astype(np.uint16)


def ideal_bits(symbols: np.ndarray, tables: np.ndarray) -> float:
    """What the symbols would cost if a part of a bit could be written: −Σ log₂ p.

    Parameters
    ----------
    symbols : ndarray of uint8, shape (N, n)
    tables : ndarray of uint16, shape (n, K)
        As `frequencies` makes them: p is a frequency over 65,536.
    """
    counts = count_levels(symbols, tables.shape[1])
    return float((counts * (PRECISION - np.log2(tables))).sum())


def _check_symbols(symbols: np.ndarray, numbers: int, levels: int) -> None:
    if symbols.dtype != np.uint8 or symbols.ndim != 2 or symbols.shape[1] != numbers:
        raise ValueError(
            f"symbols must be uint8 (N, {numbers}), not {symbols.dtype} {symbols.shape}"
        )
    if symbols.size == 0:
        raise ValueError("there are no symbols")
    if (highest := int(symbols.max())) >= levels:
        raise ValueError(f"symbol {highest} is none of {levels} levels")


def _check_tables(tables: np.ndarray) -> None:
    levels = tables.shape[-1] if tables.ndim == 2 else 0
    if tables.dtype != np.uint16 or levels not in {1 << b for b in _BITS}:
        raise ValueError(
            f"tables must be uint16 (n, 2 to 256), not {tables.dtype} {tables.shape}"
        )
    if len(tables) == 0 or tables.min() < 1 or (tables.sum(axis=1) != _TOTAL).any():
        raise ValueError(f"each table must add up to {_TOTAL}, of numbers above 0")


# --- entropy coders ---------------------------------------------------------------
#
# A coder's state is a whole number x. Writing a symbol that has the frequencies f out
# of 2**16, from c on, makes it 2**16 (x // f) + c + x % f, so it grows by the symbol's
# information, log2(2**16 / f) bits; reading undoes that, last symbol first. Before x
# would outgrow 32 bits, its lower 16 are moved to the stream. Many states, the lanes,
# take turns symbol by symbol: each step works on all of them at once.

_LOW = np.uint32(1 << 16)  # a state is at least this, and below 2**32
_WORD = np.uint32(16)
_MASK = np.uint32(0xFFFF)
STEPS = 4096  # symbols to a lane at least; a lane costs three to four bytes of its own
LANES = 256  # at most: sparse codes cost so little that more would show


class StaticCoder:
    """Codes symbols by tables that do not change.

    Parameters
    ----------
    tables : ndarray of uint16, shape (n, K)
        For each position of a code, the frequencies of its K levels; see `frequencies`.
    """

    def __init__(self, tables: np.ndarray) -> None:
        _check_tables(tables)
        self._table = _Table(tables)

    def encode(self, symbols: np.ndarray) -> bytes:
        """Indices, uint8 (N, n) → a stream that `decode` makes the same indices of."""
        _check_symbols(symbols, self._table.numbers, self._table.levels)
        parts = [self._table.intervals(symbols)]
        return _write(parts, _lanes(symbols.size))

    def decode(self, stream: bytes, count: int) -> np.ndarray:
        """The stream of `count` images → their indices, uint8 (count, n).

        Raises
        ------
        CorruptFile
            If it is not the stream of so many images.
        """
        reader = _Reader(stream, _lanes(count * self._table.numbers))
        symbols = reader.read(count, self._table)
        reader.finish()
        return symbols


class AdaptiveCoder:
    """Codes symbols by tables that it learns while it goes.

    Writer and reader count what they have seen and make the same tables of it, anew
    after 1, 2, 4, 8 … and then every 256 images. What one call of `encode` has learnt
    serves the next, so `decode` has to be called in the same order, on another coder
    that starts alike.

    Parameters
    ----------
    numbers : int
        Numbers in a code, n.
    levels : int
        Levels of a number, K: 2 to 256.
    tables : ndarray of uint16, shape (n, K), optional
        What to start from; it weighs as much as 64 images. By default all levels are
        equally likely and weigh half an image each (Krichevsky & Trofimov, 1981).
    """

    IMAGE = 1024  # what one image adds to the counts: 1/64 of a whole table
    LARGEST_GROUP = 256

    def __init__(
        self, numbers: int, levels: int, tables: np.ndarray | None = None
    ) -> None:
        if tables is None:
            self._counts = np.full((numbers, levels), self.IMAGE // 2, np.int64)
        else:
            _check_tables(tables)
            if tables.shape != (numbers, levels):
                raise ValueError(
                    f"tables must be of shape {(numbers, levels)}, not {tables.shape}"
                )
            self._counts = tables.astype(np.int64)

    def encode(self, symbols: np.ndarray) -> bytes:
        """Indices, uint8 (N, n) → a stream that `decode` makes the same indices of."""
        _check_symbols(symbols, *self._counts.shape)
        parts = []
        for group in self._groups(len(symbols)):
            parts.append(self._table().intervals(symbols[group]))
            self._learn(symbols[group])
        return _write(parts, _lanes(symbols.size))

    def decode(self, stream: bytes, count: int) -> np.ndarray:
        """The stream of `count` images → their indices, uint8 (count, n).

        Raises
        ------
        CorruptFile
            If it is not the stream of so many images.
        """
        numbers = len(self._counts)
        reader = _Reader(stream, _lanes(count * numbers))
        symbols = np.empty((count, numbers), np.uint8)
        for group in self._groups(count):
            symbols[group] = reader.read(group.stop - group.start, self._table())
            self._learn(symbols[group])
        reader.finish()
        return symbols

    def _table(self) -> _Table:
        return _Table(frequencies(self._counts))

    def _learn(self, symbols: np.ndarray) -> None:
        self._counts += self.IMAGE * count_levels(symbols, self._counts.shape[1])

    def _groups(self, count: int) -> Iterator[slice]:
        start, size = 0, 1
        while start < count:
            stop = min(start + size, count)
            yield slice(start, stop)
            start, size = stop, min(2 * size, self.LARGEST_GROUP)


#: The entropy coders by name.
CODERS = ("static", "adaptive")


class _Table:
    """Frequencies with their running sums, laid out for looking up many at once."""

    def __init__(self, tables: np.ndarray) -> None:
        self.numbers, self.levels = tables.shape
        wide = tables.astype(np.uint32)
        self.frequency = wide.ravel()
        self.start = (wide.cumsum(axis=1, dtype=np.uint32) - wide).ravel()

    def intervals(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and frequency of each symbol, uint16 (N · n,), image by image."""
        starts = np.empty(symbols.shape, np.uint16)
        widths = np.empty(symbols.shape, np.uint16)
        rows = np.arange(self.numbers) * self.levels
        for part in slices(len(symbols)):
            places = symbols[part] + rows
            starts[part] = self.start[places]
            widths[part] = self.frequency[places]
        return starts.ravel(), widths.ravel()


def _lanes(symbols: int) -> int:
    """How many states take turns in a stream of so many symbols."""
    return max(1, min(LANES, symbols // STEPS))


def _write(parts: list[tuple[np.ndarray, np.ndarray]], lanes: int) -> bytes:
    """Write the intervals of groups of symbols, so that they are read in order."""
    states = np.full(lanes, _LOW, np.uint32)
    words = []
    for starts, widths in reversed(parts):
        for step in reversed(slices(len(starts), lanes)):
            width = widths[step].astype(np.uint32)
            state = states[: len(width)]  # a view: writing to it changes `states`
            full = np.flatnonzero(state >= width << _WORD)
            if full.size:
                words.append(state[full] & _MASK)
                state[full] >>= _WORD
            quotient, rest = np.divmod(state, width)
            state[:] = (quotient << _WORD) + rest + starts[step]
    words.append(np.empty(0, np.uint32))
    moved = np.concatenate(words[::-1]).astype("<u2")
    return states.astype("<u4").tobytes() + moved.tobytes()


class _Reader:
    """Reads what `_write` wrote; never more steps than there are symbols to read."""

    def __init__(self, stream: bytes, lanes: int) -> None:
        if len(stream) < 4 * lanes or len(stream) % 2:
            raise CorruptFile(
                f"a stream of {len(stream)} bytes is not one of {lanes} lanes"
            )
        self._states = np.frombuffer(stream, "<u4", lanes).astype(np.uint32)
        self._words = np.frombuffer(stream, "<u2", offset=4 * lanes).astype(np.uint32)
        self._position = 0
        if (self._states < _LOW).any():
            raise CorruptFile("a stream starts from a state that no writer ends in")

    def read(self, count: int, table: _Table) -> np.ndarray:
        """The next `count` images' symbols, uint8 (count, n)."""
        lanes, levels, numbers = len(self._states), table.levels, table.numbers
        symbols = np.empty(count * numbers, np.uint8)
        rows = np.arange(numbers + lanes) % numbers * levels
        # Halving steps that find a level's place among 2, 4, 8 … 256.
        halves = [levels >> half for half in range(1, levels.bit_length())]
        for step in slices(symbols.size, lanes):
            taken = symbols[step].size
            first = step.start % numbers
            row = rows[first : first + taken]
            state = self._states[:taken]
            slot = state & _MASK
            place = row.copy()
            for half in halves:
                place += half * (table.start[place + half] <= slot)
            symbols[step] = place - row
            state >>= _WORD
            state *= table.frequency[place]
            state += slot - table.start[place]
            self._refill(state)
        return symbols.reshape(count, numbers)

    def _refill(self, state: np.ndarray) -> None:
        low = np.flatnonzero(state < _LOW)
        if low.size:
            words = self._words[self._position : self._position + low.size]
            if words.size < low.size:
                raise CorruptFile("a stream ends too early")
            state[low] = state[low] << _WORD | words
            self._position += low.size

    def finish(self) -> None:
        """Check that everything was read, and that it was written from the start."""
        if self._position < self._words.size or (self._states != _LOW).any():
            raise CorruptFile("a stream does not end where its symbols do")


# --- models -----------------------------------------------------------------------

SCHEMA = 1
_MODEL_ID = re.compile(r"(?P<run>[a-z0-9+-]{1,200}):(?P<codec>[a-z-]{1,20}[1-8])")


@dataclass(frozen=True, eq=False)
class Model:
    """A run with a quantiser and tables: what files are written and read with.

    Attributes
    ----------
    run : Run
        A recorded autoencoder.
    quantiser : Quantiser
    tables : ndarray of uint16, shape (n, K)
        Of the entropy coder, one row for each of the n numbers of a code.
    fitted : dict
        On what the quantiser and the tables were fitted, for a reader.

    Raises
    ------
    ValueError
        If they do not go together.
    """

    run: Run
    quantiser: Quantiser
    tables: np.ndarray
    fitted: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_tables(self.tables)
        if self.run.record["kind"] != "autoencoder":
            raise ValueError(f"{self.run.name} is no autoencoder")
        wanted = (self.run.record["code"]["count"], len(self.quantiser.levels))
        if self.tables.shape != wanted:
            raise ValueError(
                f"{self.run.name} with {wanted[1]} levels needs tables of shape "
                f"{wanted}, not {self.tables.shape}"
            )

    @property
    def numbers(self) -> int:
        """Numbers in the code of an image, n."""
        return len(self.tables)

    @property
    def name(self) -> str:
        """Of the quantiser and tables, among others of the same run."""
        return f"{self.quantiser.kind}{self.quantiser.bits}"

    @property
    def id(self) -> str:
        """Of run, quantiser and tables together, as files name it."""
        return f"{self.run.name}:{self.name}"

    @cached_property
    def checksum(self) -> bytes:
        """SHA-256 of all that decoding depends on: levels, tables and the decoder.

        Raises
        ------
        CodecError
            If the decoder cannot be read.
        """
        path = self.run.folder / "decoder.onnx"
        try:
            decoder = path.read_bytes()
        except OSError as error:
            raise CodecError(f"{path} cannot be read: {error}") from error
        shape = self.run.record["code"]["shape"]
        digest = hashlib.sha256(f"caebook codec {SCHEMA} {shape}".encode())
        digest.update(self.quantiser.levels.astype("<f4"))
        digest.update(self.tables.astype("<u2"))
        digest.update(decoder)
        return digest.digest()

    def coder(self, name: str = "static") -> StaticCoder | AdaptiveCoder:
        """A new entropy coder, ``"static"`` or ``"adaptive"``, with these tables."""
        if name == "static":
            return StaticCoder(self.tables)
        if name == "adaptive":
            return AdaptiveCoder(*self.tables.shape, self.tables)
        raise ValueError(f"entropy coder {name!r} is none of {', '.join(CODERS)}")

    def symbols(self, images: np.ndarray) -> np.ndarray:
        """Images, uint8 (N, 28, 28) → indices, uint8 (N, n).

        The network runs batch by batch: its floats are never all in memory.
        """
        check_images(images)
        symbols = np.empty((len(images), self.numbers), np.uint8)
        with _network_errors(self.run):
            for part in slices(len(images)):
                symbols[part] = self.quantiser.encode(self.run.encode(images[part]))
        return symbols

    def images(self, symbols: np.ndarray) -> np.ndarray:
        """Indices, uint8 (N, n) → images, uint8 (N, 28, 28); batch by batch too."""
        _check_symbols(symbols, self.numbers, len(self.quantiser.levels))
        images = np.empty((len(symbols), 28, 28), np.uint8)
        shape = self.run.record["code"]["shape"]
        with _network_errors(self.run):
            for part in slices(len(symbols)):
                code = self.quantiser.decode(symbols[part]).reshape(-1, *shape)
                images[part] = metrics.to_uint8(self.run.decode(code))
        return images

    def save(self) -> Path:
        """Write levels and tables beside the run's networks, as one ``.npz`` file.

        Returns
        -------
        Path
            ``codec-<name>.npz`` in the run's folder, replaced if it was there.

        Raises
        ------
        CodecError
            If it cannot be written; what was there stays.
        """
        about = {
            "schema": SCHEMA,
            "model": self.id,
            "quantiser": self.quantiser.kind,
            "checksum": self.checksum.hex(),
            "fitted": self.fitted,
        }
        path = self.run.folder / f"codec-{self.name}.npz"
        with replacing(path, force=True) as file:
            np.savez_compressed(
                file,
                about=np.array(json.dumps(about)),
                levels=self.quantiser.levels,
                tables=self.tables,
            )
        return path

    @staticmethod
    def load(path: Path) -> Model:
        """Read a model from its file, which lies in its run's folder.

        Raises
        ------
        CodecError
            If it cannot be read, is damaged, or the run's decoder is another one than
            it was made for.
        """
        try:
            with np.load(path, allow_pickle=False) as content:
                about = json.loads(str(content["about"]))
                levels, tables = content["levels"], content["tables"]
            model = Model(
                runs.read(path.parent),
                Quantiser(about["quantiser"], levels),
                tables,
                about["fitted"],
            )
            sound = about["checksum"] == model.checksum.hex()
        except (*_NPZ_ERRORS, RunError) as error:
            raise CodecError(f"{path} cannot be used: {error}") from error
        if not sound or path.name != f"codec-{model.name}.npz":
            raise CodecError(
                f"{path} was not made for what lies beside it: the decoder, or a name, "
                "has changed; make the model again with `caebook model make`"
            )
        return model


@contextmanager
def _network_errors(run: Run) -> Iterator[None]:
    """Say which run is to blame if its networks fail or make no numbers."""
    try:
        yield
    except (RunError, ValueError, TypeError) as error:
        raise CodecError(f"{run.folder} cannot be used: {error}") from error


# What reading a damaged .npz file raises.
_NPZ_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


def fit(
    run: Run,
    images: np.ndarray,
    bits: int = 4,
    kind: str = "lloyd-max",
    fitted: dict | None = None,
    progress: Progress | None = None,
) -> Model:
    """Fit a quantiser and tables to what a run makes of training images.

    Parameters
    ----------
    run : Run
    images : ndarray of uint8, shape (N, 28, 28)
        Training images, in no particular order.
    bits, kind
        Of the quantiser; see `QUANTISERS`.
    fitted : dict, optional
        What to record of where the images came from; must be fit for JSON.
    progress : callable, optional
        Is told how many more images are done.

    Returns
    -------
    Model
        Not saved yet.
    """
    check_images(images)
    if run.record["kind"] != "autoencoder":
        raise CodecError(f"{run.name} is a classifier: it makes no codes to store")
    if kind not in QUANTISERS:
        raise ValueError(f"quantiser {kind!r} is none of {list(QUANTISERS)}")
    numbers = run.record["code"]["count"]
    counts = np.zeros((numbers, 1 << bits), np.int64)
    with _network_errors(run):
        quantiser = QUANTISERS[kind](run.encode(images[: _block(numbers)]), bits)
        for part in slices(len(images)):
            symbols = quantiser.encode(run.encode(images[part]))
            counts += count_levels(symbols, 1 << bits)
            if progress is not None:
                progress(len(symbols))
    about = {**(fitted or {}), "images": len(images)}
    return Model(run, quantiser, frequencies(counts), about)


def package(run: Run, folder: Path) -> Run:
    """Copy a run to `folder`, with a decoder that does the same faster.

    Raises
    ------
    CodecError
        If the copy cannot be written.
        Or the run's networks cannot be used.
    """
    target, staging = folder / run.name, None
    if target.exists():
        raise CodecError(f"{target} exists already; remove it first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder, prefix=".packing-"))
        for name in ("encoder.onnx", "decoder.onnx", "run.json"):
            shutil.copyfile(run.folder / name, staging / name)
        (staging / "decoder.onnx").write_bytes(_faster_decoder(run, staging))
        staging.chmod(0o755)
        staging.rename(target)
    except OSError as error:
        raise CodecError(f"{target} cannot be written: {error}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return read_run(target)


def _faster_decoder(run: Run, staging: Path) -> bytes:
    """A decoder that gives the same as the run's; it is tried out in `staging`."""
    from caebook.training.onnx import split_narrow_convolutions  # this needs `onnx`

    own = (run.folder / "decoder.onnx").read_bytes()
    codes = np.random.default_rng(0).random(
        (64, *run.record["code"]["shape"]), dtype=np.float32
    )
    with _network_errors(run):
        wanted = run.decode(codes)
    for early in (True, False):
        try:
            faster = split_narrow_convolutions(own, early)
            (staging / "decoder.onnx").write_bytes(faster)
            found = Run(staging, run.record).decode(codes)
        except (ValueError, RunError):  # not a network for which this is right
            continue
        if found.shape == wanted.shape and np.allclose(
            found, wanted, rtol=0, atol=runs.TOLERANCE
        ):
            return faster
    return own


def read_run(folder: Path) -> Run:
    """`caebook.runs.read`, with an error like the others here."""
    try:
        return runs.read(folder)
    except RunError as error:
        raise CodecError(str(error)) from error


def find_model(name: str | Path = DEFAULT_MODEL, checksum: bytes = b"") -> Model:
    """The model of that name, or in that folder.

    Parameters
    ----------
    name : str or Path
        The id of a model (``<run>:<quantiser><bits>``), or the path of a run's folder
        or of a model's file in it. Models are looked for in the package, in
        ``reference/`` and in the runs of this checkout's builds.
    checksum : bytes
        What the model's checksum has to start with.

    Raises
    ------
    CodecError
        If there is no such model; the message says which there are.
    """
    named = _MODEL_ID.fullmatch(str(name))
    if named is None:
        paths = _files_in(Path(name))
    else:
        codec = f"codec-{named['codec']}.npz"
        paths = [folder / named["run"] / codec for folder in _folders()]
        paths = [path for path in paths if path.is_file()]
        if not paths:
            raise CodecError(f"there is no model {name} here; {_those_here()}")
    models = [Model.load(path) for path in paths]
    for model in models:
        if model.checksum.startswith(checksum):
            return model
    raise CodecError(
        f"the model {models[0].id} in {models[0].run.folder} has the checksum "
        f"{models[0].checksum[:8].hex()}, not {checksum.hex()}: it was made anew since"
    )


def _files_in(path: Path) -> list[Path]:
    """The file of the one model in a run's folder, or that file itself."""
    if path.is_file():
        return [path]
    if not (path / "run.json").is_file():
        raise CodecError(
            f"{path} is neither a model's name nor the folder of a run; {_those_here()}"
        )
    found = sorted(path.glob("codec-*.npz"))
    if not found:
        raise CodecError(
            f"{path} holds a run without quantiser and tables; make them with "
            f"`caebook model make {path}`"
        )
    if len(found) > 1:
        choice = " or ".join(str(file) for file in found)
        raise CodecError(f"{path} holds several models; name one of them: {choice}")
    return found


def _folders() -> list[Path]:
    """Where runs with models may be, in the order they are looked for."""
    builds = sorted((root() / "build").glob("*/runs"))
    return [MODELS_FOLDER, root() / "reference", *builds]


def list_models() -> list[Path]:
    """The files of all models that `find_model` finds by name."""
    return [
        path
        for folder in _folders()
        for path in sorted(folder.glob("*/codec-*.npz"))
        if not path.parent.name.startswith(".")
    ]


def _those_here() -> str:
    here = {f"{p.parent.name}:{p.stem.removeprefix('codec-')}" for p in list_models()}
    if not here:
        return "no model is here yet: `caebook model make` makes one from a run"
    return f"here are {', '.join(sorted(here))}"


# --- files ------------------------------------------------------------------------

MAGIC = b"\x89CAE"
VERSION = 1
SIDE = 28
_QUANTISER_IDS = {"uniform": 1, "lloyd-max": 2}
_CODER_IDS = {"static": 1, "adaptive": 2}
# Magic, version, quantiser, bits, coder, precision, length of the model's id, two
# unused bytes, images, height, width, numbers in a code, checksum of the model.
_FIXED = struct.Struct("<4s6B2xI2HI8s")
_LENGTH = struct.Struct("<I")
_CRC = struct.Struct("<I")
_CHECKSUM = 8  # bytes of the model's checksum that a file keeps


@dataclass(frozen=True)
class Header:
    """What a ``.cae`` file says of itself.

    Attributes
    ----------
    version : int
        Of the format.
    model : str
        Id of the model that the file was written with, see `Model.id`.
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
        """The images in each block; they follow from the count and the numbers."""
        size = _block(self.numbers)
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


def _block(numbers: int) -> int:
    """Images to a block: what bounds the memory, whatever a file declares."""
    return max(1, min(16_384, SAMPLE // numbers))


def compressed(
    images: np.ndarray,
    model: Model,
    coder: str = "static",
    progress: Progress | None = None,
) -> Iterator[bytes]:
    """The parts of a ``.cae`` file, one after the other.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 28, 28)
        1 to 2**32 - 1 of them; may be a memory map.
    model : Model
    coder : str
        "static", or "adaptive" for images unlike those the model was fitted to.
    progress : callable, optional
        Is told how many more images are done.

    Yields
    ------
    bytes
        At most a few megabytes, so that files of any length can be written.
    """
    check_images(images)
    checksum = model.checksum[:_CHECKSUM]
    header = Header(
        version=VERSION,
        model=model.id,
        checksum=checksum,
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
        content = _LENGTH.pack(len(stream)) + stream
        crc = zlib.crc32(content, crc)
        yield content
    yield _CRC.pack(crc)


def compress(images: np.ndarray, model: Model, coder: str = "static") -> bytes:
    """Images → the bytes of a ``.cae`` file; see `compressed` for the parameters."""
    return b"".join(compressed(images, model, coder))


def read_header(file: BinaryIO) -> Header:
    """Check a file from the first byte to the last, and say what it declares.

    Neither the images nor the codes are decoded, and no more than a block of bytes is
    in memory at a time. The file is left at its first block.

    Parameters
    ----------
    file : binary file that can be sought

    Returns
    -------
    Header

    Raises
    ------
    CorruptFile
        If it is no ``.cae`` file, of an unknown version, declares what cannot be, is
        shorter or longer than declared, or its checksum does not fit.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(_FIXED.size)
    if start[: len(MAGIC)] != MAGIC:
        raise CorruptFile("this is no .cae file")
    if len(start) > len(MAGIC) and start[len(MAGIC)] != VERSION:
        raise CorruptFile(
            f"this is a .cae file of version {start[len(MAGIC)]}, and this program "
            f"reads version {VERSION}"
        )
    if len(start) < _FIXED.size:
        raise CorruptFile(f"truncated: {size} bytes are not even a header")
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
        f"{bits} bits to a number": bits not in _BITS,
        f"unknown entropy coder {coder}": coder not in coders,
        f"tables of {precision} bits": precision != PRECISION,
        "bytes in use that are not": start[10:12] != b"\0\0",
        "no images": count == 0,
        f"images of {width}×{height} pixels": (width, height) != (SIDE, SIDE),
        "codes without numbers": numbers == 0,
        "no name of a model": _MODEL_ID.fullmatch(model) is None,
    }
    for problem, found in problems.items():
        if found:
            raise CorruptFile(f"the header declares {problem}")
    return Header(
        version, model, checksum, quantisers[quantiser], bits, coders[coder],
        count, numbers, size,
    )  # fmt: skip


def _check_blocks(header: Header, file: BinaryIO) -> None:
    """Check that the blocks fill the file, and could hold what is declared."""
    position, end = header.length, header.size - _CRC.size
    for index, count in enumerate(header.blocks):
        if position + _LENGTH.size > end:  # also ends the loop for absurd counts
            raise CorruptFile(
                f"truncated: {header.count:,} images are declared, but the file ends "
                f"before block {index + 1}"
            )
        file.seek(position)
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        position += _LENGTH.size + length
        if position > end:
            raise CorruptFile(f"truncated: the file ends within block {index + 1}")
        # A lane ends with a state of four bytes; a symbol moves one word at most.
        least = 4 * _lanes(count * header.numbers)
        if not least <= length <= least + 2 * count * header.numbers:
            raise CorruptFile(
                f"block {index + 1} is {length:,} bytes long, which {count:,} images "
                f"of {header.numbers:,} numbers cannot be"
            )
    if position < end:
        raise CorruptFile(f"{end - position:,} bytes more than declared")


def _check_crc(file: BinaryIO, size: int) -> None:
    file.seek(0)
    left, crc = size - _CRC.size, 0
    while left:
        part = file.read(min(BLOCK, left))
        if not part:
            raise CorruptFile("the file became shorter while it was read")
        crc = zlib.crc32(part, crc)
        left -= len(part)
    if file.read(_CRC.size) != _CRC.pack(crc):
        raise CorruptFile("damaged: its checksum does not fit its content")


def decompressed(
    file: BinaryIO,
    header: Header,
    model: Model,
    max_images: int = MAX_IMAGES,
) -> Iterator[np.ndarray]:
    """The images of a ``.cae`` file, some at a time.

    Parameters
    ----------
    file : binary file
        As `read_header` leaves it.
    header : Header
        From `read_header`.
    model : Model
        The one that the header names; see `find_model`.
    max_images : int
        A few bytes can stand for very many images: how many are acceptable.

    Yields
    ------
    ndarray of uint8, shape (some, 28, 28)

    Raises
    ------
    CorruptFile
        If the model is another one, the file declares more images than acceptable, or
        a stream is not one of the model's.
    """
    _check_model(header, model)
    if header.count > max_images:
        raise CorruptFile(
            f"{header.count:,} images are declared, and at most {max_images:,} are "
            "accepted (--max-images, max_images)"
        )
    coder = model.coder(header.coder)
    for count in header.blocks:
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        symbols = coder.decode(file.read(length), count)
        for part in slices(count, 500):
            yield model.images(symbols[part])


def _check_model(header: Header, model: Model) -> None:
    wanted = (header.model, header.checksum.hex())
    given = (model.id, model.checksum[:_CHECKSUM].hex())
    if wanted != given:
        raise CorruptFile(
            f"written with the model {' '.join(wanted)}, which is not {' '.join(given)}"
        )
    quantiser = model.quantiser
    declared = (header.quantiser, header.bits, header.numbers)
    if declared != (quantiser.kind, quantiser.bits, model.numbers):
        raise CorruptFile(f"the header declares what {model.id} does not make")


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
        See `decompressed`.

    Raises
    ------
    CorruptFile
        If the content is damaged, foreign or absurd.
    CodecError
        If the model that the file names is not here.
    """
    file = io.BytesIO(content)
    header = read_header(file)
    if model is None:
        model = find_model(header.model, header.checksum)
    pixels = bytearray()  # grows with what is decoded, not with what is declared
    for images in decompressed(file, header, model, max_images):
        pixels += images.data
    return np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)
