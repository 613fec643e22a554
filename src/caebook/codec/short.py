"""A range coder for short streams, which wastes less than a byte.

The lanes of `caebook.codec.entropy` are fast for many symbols, but start and end in
whole words: in a file of one image they would cost a quarter of the stream. Here a
message is an interval of numbers (Martin, 1979, “Range encoding”): it starts as all
fractions from 0 to 1, and each symbol keeps the share of it that its frequency gives.
The stream is the shortest number in the interval. Python's whole numbers are faster for
this than NumPy's arrays of one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np

from caebook.errors import CorruptFile

PRECISION = 16  # the frequencies of a table add up to 2**16
_WIDEST = 1 << 8 * 4  # the interval at the start: four bytes
_NARROWEST = 1 << 8 * 3  # below this width, the interval takes in another byte


def write(intervals: Iterable[tuple[np.ndarray, np.ndarray]]) -> bytes:
    """Write symbols as the shortest number in their interval.

    Parameters
    ----------
    intervals : iterable of pairs of ndarray of uint16
        Start and frequency of each symbol, in the order in which they are read.
    """
    low, width, size = 0, _WIDEST, 4
    for starts, frequencies in intervals:
        for start, frequency in zip(starts.tolist(), frequencies.tolist(), strict=True):
            share = width >> PRECISION
            low += share * start
            width = share * frequency
            while width < _NARROWEST:
                low, width, size = low << 8, width << 8, size + 1
    return _shortest(low, width, size)


def _shortest(low: int, width: int, size: int) -> bytes:
    """The fewest bytes that start a number of `size` bytes in [low, low + width).

    The bytes left out are 0.
    """
    for left_out in range(size, 0, -1):
        unit = 8 * left_out
        number = -(-low >> unit)
        if number << unit < low + width:
            return number.to_bytes(size - left_out, "big")
    return low.to_bytes(size, "big")


class Reader:
    """Reads a stream of `write`; it takes no more steps than there are symbols."""

    def __init__(self, stream: bytes) -> None:
        self._stream = stream
        self._value = int.from_bytes(stream[:4].ljust(4, b"\0"), "big")
        self._width = _WIDEST
        self._size = 4  # bytes taken in so far, those beyond the stream's end too

    def read(
        self, count: int, starts: Sequence[list[int]], frequencies: Sequence[list[int]]
    ) -> np.ndarray:
        """The next `count` images' symbols, uint8 (count, n).

        Parameters
        ----------
        count : int
        starts, frequencies : sequence of n lists of K integers
            For each position of a code, where its levels start, and how wide they are.

        Raises
        ------
        CorruptFile
            If the stream's number is in no level's share of the interval.
        """
        symbols = []
        stream, value, width, size = self._stream, self._value, self._width, self._size
        for _ in range(count):
            for start, frequency in zip(starts, frequencies, strict=True):
                share = width >> PRECISION
                slot = value // share
                if slot >> PRECISION:  # rounding down leaves a little at the end
                    raise CorruptFile("a stream is not that of any symbols")
                symbol = bisect_right(start, slot) - 1
                symbols.append(symbol)
                value -= share * start[symbol]
                width = share * frequency[symbol]
                while width < _NARROWEST:
                    value <<= 8
                    width <<= 8
                    if size < len(stream):
                        value |= stream[size]
                    size += 1
        self._value, self._width, self._size = value, width, size
        return np.array(symbols, np.uint8).reshape(count, len(starts))

    def finish(self) -> None:
        """Check that the stream is the one that `write` makes of these symbols."""
        stream, size = self._stream, self._size
        number = int.from_bytes(stream[:size].ljust(size, b"\0"), "big")
        if stream != _shortest(number - self._value, self._width, size):
            raise CorruptFile("a stream does not end after its last symbol")
