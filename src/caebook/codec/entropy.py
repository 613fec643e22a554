"""Entropy coders: they turn levels' indices into bytes, fewer for frequent ones.

Everything here is whole-number arithmetic, so the same bytes give the same indices on
every machine.

The method is a range asymmetric numeral system (Duda, 2013, arXiv:1311.2540),
interleaved (Giesen, 2014, arXiv:1402.3392) so that NumPy works on many symbols at a
time. No library is used because a file's tables must be whole numbers: the libraries
for Python take probabilities as floats, and round them differently in each version.

Streams of fewer than 8,192 symbols are written by `caebook.codec.short` instead, except
in version 1 of the format.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from caebook.codec import short
from caebook.codec.short import PRECISION
from caebook.errors import CorruptFile
from caebook.images import slices

# --- tables -----------------------------------------------------------------------

_TOTAL = 1 << PRECISION


def count_levels(symbols: np.ndarray, levels: int) -> np.ndarray:
    """Count how often each level occurs at each position.

    Parameters
    ----------
    symbols : ndarray of uint8, shape (N, n)
        Indices below `levels`.
    levels : int

    Returns
    -------
    ndarray of int64, shape (n, levels)

    Raises
    ------
    ValueError
        If the symbols are not like this.
    """
    numbers = symbols.shape[1]
    check_symbols(symbols, numbers, levels)
    counts = np.zeros(numbers * levels, np.int64)
    offsets = np.arange(numbers) * levels
    for part in slices(len(symbols)):
        places = (symbols[part] + offsets).ravel()
        counts += np.bincount(places, minlength=counts.size)
    return counts.reshape(numbers, levels)


def frequencies(counts: np.ndarray) -> np.ndarray:
    """Turn counts into an entropy coder's tables, in whole-number arithmetic only.

    Parameters
    ----------
    counts : ndarray of int64, shape (n, K)
        0 or more, and a row's sum is 1 or more; K is 2 to 256.

    Returns
    -------
    ndarray of uint16, shape (n, K)
        Each row adds up to 65,536. No frequency is below 1: a level that has not
        occurred yet must have one, or it could not be coded.

    Raises
    ------
    ValueError
        If a count is negative, or a row is all 0.
    """
    if counts.min() < 0 or (counts.sum(axis=1) < 1).any():
        raise ValueError("counts must not be negative, and no row all 0")
    free = _TOTAL - counts.shape[1]
    tables = 1 + counts * free // counts.sum(axis=1, keepdims=True)
    rest = _TOTAL - tables.sum(axis=1)  # left by rounding down; the largest takes it
    tables[np.arange(len(tables)), tables.argmax(axis=1)] += rest
    return tables.astype(np.uint16)


def ideal_bits(symbols: np.ndarray, tables: np.ndarray) -> float:
    """Bits that the symbols would take if parts of a bit could be written: −Σ log₂ p.

    Parameters
    ----------
    symbols : ndarray of uint8, shape (N, n)
    tables : ndarray of uint16, shape (n, K)
        From `frequencies`; p is a frequency divided by 65,536.
    """
    counts = count_levels(symbols, tables.shape[1])
    return float((counts * (PRECISION - np.log2(tables))).sum())


def check_symbols(symbols: np.ndarray, numbers: int, levels: int) -> None:
    """Raise ValueError unless these are uint8 (N, numbers), N ≥ 1, below `levels`."""
    if symbols.dtype != np.uint8 or symbols.ndim != 2 or symbols.shape[1] != numbers:
        raise ValueError(
            f"symbols must be uint8 (N, {numbers}), not {symbols.dtype} {symbols.shape}"
        )
    if symbols.size == 0:
        raise ValueError("there are no symbols")
    if (highest := int(symbols.max())) >= levels:
        raise ValueError(
            f"symbol {highest} is not below {levels}, the number of levels"
        )


def check_tables(tables: np.ndarray) -> None:
    """Raise ValueError unless these are tables like those of `frequencies`."""
    levels = tables.shape[-1] if tables.ndim == 2 else 0
    if tables.dtype != np.uint16 or levels not in (2, 4, 8, 16, 32, 64, 128, 256):
        raise ValueError(
            f"tables must be uint16 (n, 2 to 256), not {tables.dtype} {tables.shape}"
        )
    if len(tables) == 0 or tables.min() < 1 or (tables.sum(axis=1) != _TOTAL).any():
        raise ValueError(
            f"each table must hold numbers above 0 that add up to {_TOTAL}"
        )


# --- entropy coders ---------------------------------------------------------------
#
# A coder's state is a whole number x. Writing a symbol of frequency f (out of 2**16),
# before which the frequencies add up to c, makes it 2**16 (x // f) + c + x % f. So x
# grows by the symbol's information, log2(2**16 / f) bits; reading undoes that, last
# symbol first. Before x would exceed 32 bits, its lower 16 are moved to the stream.
# Many states, the lanes, take turns symbol by symbol: a step works on all of them.

_LOW = np.uint32(1 << 16)  # a state is at least this, and below 2**32
_WORD = np.uint32(16)
_MASK = np.uint32(0xFFFF)
STEPS = 4096  # symbols in a lane, at least; each lane costs three to four bytes
LANES = 256  # at most: with more, the lanes' bytes would show in files of sparse codes


class StaticCoder:
    """Codes symbols with tables that do not change.

    Parameters
    ----------
    tables : ndarray of uint16, shape (n, K)
        For each position of a code, the frequencies of its K levels; see `frequencies`.
    version : int
        Of the format; in version 1 short streams are written as long ones are.

    Raises
    ------
    ValueError
        If the tables are not like this.
    """

    def __init__(self, tables: np.ndarray, version: int = 2) -> None:
        check_tables(tables)
        self._table = _Table(tables)
        self._version = version

    def encode(self, symbols: np.ndarray) -> bytes:
        """Indices, uint8 (N, n) → a stream, from which `decode` restores them."""
        check_symbols(symbols, self._table.numbers, self._table.levels)
        return _stream([self._table.intervals(symbols)], symbols.size, self._version)

    def decode(self, stream: bytes, count: int) -> np.ndarray:
        """The stream of `count` images → their indices, uint8 (count, n).

        Raises
        ------
        CorruptFile
            If it is damaged, or the stream of another number of images.
        """
        reader = _reader(stream, count * self._table.numbers, self._version)
        symbols = reader.read(count, self._table)
        reader.finish()
        return symbols


class AdaptiveCoder:
    """Codes symbols with tables that it learns from the symbols before.

    Writer and reader count the symbols so far and make the same tables from the counts,
    again after 1, 2, 4, 8 … and then every 256 images. The counts are kept from one
    call of `encode` to the next, so `decode` must be called in the same order, on
    another coder that was made with the same arguments.

    Parameters
    ----------
    numbers : int
        Numbers in a code, n.
    levels : int
        Levels of a number, K: 2 to 256.
    tables : ndarray of uint16, shape (n, K), optional
        The first tables; they weigh as much as 64 images. By default all levels are
        equally likely and weigh half an image each (Krichevsky & Trofimov, 1981).
    version : int
        As in `StaticCoder`.

    Raises
    ------
    ValueError
        If the tables are not like this.
    """

    IMAGE = 1024  # what one image adds to the counts: 1/64 of a whole table
    LARGEST_GROUP = 256

    def __init__(
        self,
        numbers: int,
        levels: int,
        tables: np.ndarray | None = None,
        version: int = 2,
    ) -> None:
        self._version = version
        if tables is None:
            self._counts = np.full((numbers, levels), self.IMAGE // 2, np.int64)
        else:
            check_tables(tables)
            if tables.shape != (numbers, levels):
                raise ValueError(
                    f"tables must be of shape {(numbers, levels)}, not {tables.shape}"
                )
            self._counts = tables.astype(np.int64)

    def encode(self, symbols: np.ndarray) -> bytes:
        """As `StaticCoder.encode`; the next call continues with the counts."""
        check_symbols(symbols, *self._counts.shape)
        parts = []
        for group in self._groups(len(symbols)):
            parts.append(self._table().intervals(symbols[group]))
            self._learn(symbols[group])
        return _stream(parts, symbols.size, self._version)

    def decode(self, stream: bytes, count: int) -> np.ndarray:
        """As `StaticCoder.decode`; the next call continues with the counts."""
        numbers = len(self._counts)
        reader = _reader(stream, count * numbers, self._version)
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
    """Frequencies and their running sums, laid out for many look-ups at once."""

    def __init__(self, tables: np.ndarray) -> None:
        self.numbers, self.levels = tables.shape
        wide = tables.astype(np.uint32)
        self.frequency = wide.ravel()
        self.start = (wide.cumsum(axis=1, dtype=np.uint32) - wide).ravel()

    def lists(self) -> tuple[list[list[int]], list[list[int]]]:
        """Running sums and frequencies of each position."""
        shape = self.numbers, self.levels
        return self.start.reshape(shape).tolist(), self.frequency.reshape(
            shape
        ).tolist()

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
    """Number of lanes in a stream of `symbols` symbols."""
    return max(1, min(LANES, symbols // STEPS))


def stream_lengths(symbols: int) -> range:
    """Possible lengths, in bytes, of a stream of `symbols` symbols with lanes."""
    least = 4 * _lanes(symbols)  # a lane ends with a state of four bytes
    return range(least, least + 2 * symbols + 1, 2)  # a symbol moves one word at most


def _stream(
    parts: list[tuple[np.ndarray, np.ndarray]], symbols: int, version: int
) -> bytes:
    """Write the symbols' intervals, in the way that their number decides."""
    if version > 1 and _lanes(symbols) == 1:
        return short.write(parts)
    return _write(parts, _lanes(symbols))


def _reader(stream: bytes, symbols: int, version: int) -> _ShortReader | _Reader:
    """Begin to read what `_stream` wrote."""
    if version > 1 and _lanes(symbols) == 1:
        return _ShortReader(stream)
    return _Reader(stream, _lanes(symbols))


class _ShortReader(short.Reader):
    """Reads a stream of `caebook.codec.short`."""

    def read(self, count: int, table: _Table) -> np.ndarray:
        """The next `count` images' symbols, uint8 (count, n)."""
        return super().read(count, *table.lists())


def _write(parts: list[tuple[np.ndarray, np.ndarray]], lanes: int) -> bytes:
    """Write the symbols' intervals, last first, so that they are read in order."""
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
    """Reads a stream of `_write`; it takes no more steps than there are symbols."""

    def __init__(self, stream: bytes, lanes: int) -> None:
        if len(stream) < 4 * lanes or len(stream) % 2:
            raise CorruptFile(
                f"a stream of {len(stream)} bytes is impossible for {lanes} lanes"
            )
        self._states = np.frombuffer(stream, "<u4", lanes).astype(np.uint32)
        self._words = np.frombuffer(stream, "<u2", offset=4 * lanes).astype(np.uint32)
        self._position = 0
        if (self._states < _LOW).any():
            raise CorruptFile("a stream starts with an invalid state")

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
        """Check that all words were read and that each lane is in its first state."""
        if self._position < self._words.size or (self._states != _LOW).any():
            raise CorruptFile("a stream does not end after its last symbol")
