"""An adaptive coder that predicts each pixel from its neighbours.

This is what fax and JBIG do with black and white (Rissanen & Langdon, 1981,
doi:10.1109/TIT.1981.1056282): the pixels around, which the reader has already, form a
*context*, and for each context writer and reader count how often each grey level came
next. Frequencies made of these counts drive an entropy coder like that of
`caebook.codec.entropy`.

NumPy is fast on many numbers at once, so groups of images are coded side by side: the
first pixel of all of them, the second of all, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from caebook.rivals.base import Rival, digest

# Neighbours as (rows up, columns to the left), the nearest first.
NEIGHBOURS = (
    *((0, 1), (1, 0), (1, 1), (1, -1), (0, 2)),
    *((2, 0), (2, 1), (2, -1), (1, 2), (1, -2)),
)
LANES = 256  # images coded side by side, at most
_BITS = 16  # frequencies add up to 2**16, as do those of `caebook.codec`
_LOW = 1 << 16  # a state is at least this, and below 2**32
_MARGIN = 2


class ContextCoder(Rival):
    """Stores images of few grey levels without loss.

    Parameters
    ----------
    levels : grey levels, 2 to 8; the images hold their indices
    neighbours : pixels in a context, 1 to 10; ``levels ** neighbours`` contexts

    Notes
    -----
    A stream is the number of images (4 bytes), the states in which the coder ends (4
    bytes for each image of a group), and 16-bit words. What was encoded and decoded
    last is remembered: grey levels and their means have the same stream.
    """

    name, family = "contexts", "general"

    def __init__(self, levels: int, neighbours: int) -> None:
        self.levels, self.neighbours = levels, NEIGHBOURS[:neighbours]
        self.setting = f"{levels} levels, {neighbours} neighbours"
        self._encoded, self._decoded = (b"", b""), (b"", np.empty(0, np.uint8))

    def encode(self, images: np.ndarray) -> bytes:
        """See `Rival`; the images' pixels are below `levels`."""
        key = digest(images)
        if self._encoded[0] != key:
            self._encoded = key, self._encode(images)
        return self._encoded[1]

    def decode(self, stream: bytes) -> np.ndarray:
        """See `Rival`."""
        if self._decoded[0] != stream:
            self._decoded = stream, self._decode(stream)
        return self._decoded[1].copy()

    def _encode(self, images: np.ndarray) -> bytes:
        intervals = []
        for group, row, column, model in self._places(len(images)):
            if (row, column) == (0, 0):
                padded = _padded(images[group])
            symbols = padded[row + _MARGIN, column + _MARGIN]
            starts, widths = model.intervals(self._contexts(padded, row, column))
            lane = np.arange(len(symbols))
            intervals.append((starts[lane, symbols], widths[lane, symbols]))
            model.learn(symbols)
        return len(images).to_bytes(4, "little") + _write(
            intervals, _lanes(len(images))
        )

    def _decode(self, stream: bytes) -> np.ndarray:
        count = int.from_bytes(stream[:4], "little")
        images = np.empty((count, 28, 28), np.uint8)
        reader = _Reader(stream[4:], _lanes(count))
        for group, row, column, model in self._places(count):
            if (row, column) == (0, 0):
                padded = _padded(images[group])
            table = model.intervals(self._contexts(padded, row, column))
            symbols = reader.read(*table)
            padded[row + _MARGIN, column + _MARGIN] = symbols
            model.learn(symbols)
            if (row, column) == (27, 27):
                inner = padded[_MARGIN:, _MARGIN:-_MARGIN]
                images[group] = inner.transpose(2, 0, 1)
        return images

    def _places(self, count: int) -> Iterator[tuple[slice, int, int, _Counts]]:
        """Every pixel of every group of images, and the counts before it."""
        model = _Counts(self.levels ** len(self.neighbours), self.levels)
        for start in range(0, count, _lanes(count)):
            group = slice(start, min(start + _lanes(count), count))
            for row in range(28):
                for column in range(28):
                    yield group, row, column, model

    def _contexts(self, padded: np.ndarray, row: int, column: int) -> np.ndarray:
        """The number of each image's context at a pixel."""
        number = 0
        for up, left in self.neighbours:
            place = padded[row + _MARGIN - up, column + _MARGIN - left]
            number = number * self.levels + place
        return number


class _Counts:
    """How often each level came after each context; each starts at a half."""

    def __init__(self, contexts: int, levels: int) -> None:
        self.levels, self.last = levels, np.empty(0, np.int64)
        self.twice = np.ones((contexts, levels), np.int64)

    def intervals(self, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and frequency of every level, int64 (n, levels), in these contexts."""
        self.last = contexts * self.levels
        twice = self.twice[contexts]
        free = (1 << _BITS) - self.levels
        widths = 1 + twice * free // twice.sum(axis=1, keepdims=True)
        ends = widths.cumsum(axis=1)
        widths[:, 0] += (1 << _BITS) - ends[:, -1]  # what rounding down has left
        ends += ((1 << _BITS) - ends[:, -1])[:, None]
        return ends - widths, widths

    def learn(self, symbols: np.ndarray) -> None:
        """Count the levels that came in the contexts of the last call."""
        np.add.at(self.twice.reshape(-1), self.last + symbols, 2)


def _padded(images: np.ndarray) -> np.ndarray:
    """Images (n, 28, 28) → int64 (30, 32, n), with a black margin above and beside."""
    margin = ((_MARGIN, 0), (_MARGIN, _MARGIN), (0, 0))
    return np.pad(images.transpose(1, 2, 0).astype(np.int64), margin)


def _lanes(count: int) -> int:
    return max(1, min(LANES, count // 8))


def _write(intervals: list[tuple[np.ndarray, np.ndarray]], lanes: int) -> bytes:
    """Write the last interval first, so that they are read in order."""
    states, words = np.full(lanes, _LOW, np.int64), []
    for starts, widths in reversed(intervals):
        state = states[: len(widths)]  # a view: writing to it changes `states`
        full = np.flatnonzero(state >= widths << _BITS)
        words.append(state[full] & (_LOW - 1))
        state[full] >>= _BITS
        quotient, rest = np.divmod(state, widths)
        state[:] = (quotient << _BITS) + rest + starts
    moved = np.concatenate([np.empty(0, np.int64), *words[::-1]])
    return states.astype("<u4").tobytes() + moved.astype("<u2").tobytes()


class _Reader:
    """Reads what `_write` wrote."""

    def __init__(self, stream: bytes, lanes: int) -> None:
        self.states = np.frombuffer(stream, "<u4", lanes).astype(np.int64)
        self.words = np.frombuffer(stream, "<u2", offset=4 * lanes).astype(np.int64)
        self.at = 0

    def read(self, starts: np.ndarray, widths: np.ndarray) -> np.ndarray:
        """The next symbol of each lane, int64 (n,)."""
        state, lane = self.states[: len(starts)], np.arange(len(starts))
        slot = state & (_LOW - 1)
        symbols = (starts <= slot[:, None]).sum(axis=1) - 1
        state[:] = (state >> _BITS) * widths[lane, symbols] + slot
        state -= starts[lane, symbols]
        low = np.flatnonzero(state < _LOW)
        words = self.words[self.at : self.at + len(low)]
        state[low] = state[low] << _BITS | words
        self.at += len(low)
        return symbols
