"""Quantisers: they round the numbers of a code to one of a few levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from caebook.images import slices

SAMPLE = 1 << 22  # numbers that a quantiser is fitted to, at most
TAIL = 1e-3  # part of the numbers at either end that uniform levels need not reach
LLOYD_STEPS = 1_000
BITS = range(1, 9)  # of an index


@dataclass(frozen=True, eq=False)
class Quantiser:
    """Rounds numbers to the nearest of a few levels.

    Attributes
    ----------
    kind : str
        How the levels were chosen, a key of `QUANTISERS`.
    levels : ndarray of float32, shape (2**bits,)
        Ascending; `bits` is 1 to 8. Numbers outside are clipped to the ends.

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
            raise ValueError(
                f"unknown quantiser {self.kind!r}; "
                f"choose one of {', '.join(QUANTISERS)}"
            )
        if levels.dtype != np.float32 or levels.shape not in {(1 << b,) for b in BITS}:
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
        """Midpoints between the levels, float32; a number on one is rounded up."""
        middle = (self.levels[1:].astype(float) + self.levels[:-1]) / 2
        return middle.astype(np.float32)

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Codes, float32 (N, …) → indices of the nearest levels, uint8 (N, n).

        Raises
        ------
        ValueError
            If the codes are not like this, or hold NaN.
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
    """Levels at equal distances, from the lowest of the codes to the highest.

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

    Raises
    ------
    ValueError
        If there are no codes, or one is not finite, or `bits` is not 1 to 8.
    """
    return Quantiser("uniform", _equal_steps(_sample(codes, bits), bits, tail))


def lloyd_max(codes: np.ndarray, bits: int) -> Quantiser:
    """Levels with a small squared error on the codes.

    Each level is the mean of the numbers that are rounded to it, each threshold the
    middle between two levels: repeating both in turn never makes the error larger
    (Lloyd, 1982, doi:10.1109/TIT.1982.1056489; Max, 1960). The result depends on the
    start, so it is computed twice, from equal steps and from cells found by dividing
    the one with the largest error again and again; the better one is returned.

    Parameters
    ----------
    codes, bits
        As in `uniform`.

    Returns
    -------
    Quantiser
        Its error on these codes is not larger than that of `uniform`.

    Raises
    ------
    ValueError
        As in `uniform`.
    """
    values = np.sort(_sample(codes, bits).astype(float))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    starts = [_equal_steps(values, bits, TAIL).astype(float)]
    starts.append(_divided(values, sums, 1 << bits))
    found = [_lloyd(values, sums, start) for start in starts]
    _, levels = min(found, key=lambda result: result[0])
    return Quantiser("lloyd-max", levels.astype(np.float32))


def integers(codes: np.ndarray, bits: int) -> Quantiser:
    """The whole numbers around 0, for networks that were trained for rounding to them.

    Parameters
    ----------
    codes, bits
        As in `uniform`; the levels do not depend on the codes. With 6 bits they are
        -32 to 31.

    Returns
    -------
    Quantiser
        Of the kind ``"uniform"``, because its levels have equal distances.

    Raises
    ------
    ValueError
        As in `uniform`.
    """
    _sample(codes, bits)
    half = 1 << (bits - 1)
    return Quantiser("uniform", np.arange(-half, half, dtype=np.float32))


#: The kinds of quantiser, with the function that fits one to training codes.
QUANTISERS = {"uniform": uniform, "lloyd-max": lloyd_max}

#: All ways of choosing levels, with the function that does it.
WAYS = {**QUANTISERS, "integers": integers}


def _sample(codes: np.ndarray, bits: int) -> np.ndarray:
    """Check the codes to fit a quantiser to, and take a sample if they are many."""
    if bits not in BITS:
        raise ValueError(f"bits={bits!r} must be a whole number from 1 to 8")
    flat = np.asarray(codes).reshape(-1)
    if flat.size == 0 or not np.isfinite(flat).all():
        raise ValueError(
            "a quantiser is fitted to one or more codes, all of them finite"
        )
    if flat.size > SAMPLE:  # at random: equal steps could hit one channel only
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
    """Means of `count` cells of sorted values, found by dividing the worst one."""
    squares = np.concatenate([[0.0], np.cumsum(np.square(values))])
    bounds = np.array([0, len(values)])
    while True:
        means = np.diff(sums[bounds]) / np.diff(bounds)
        if len(means) == count:
            return means
        errors = np.diff(squares[bounds]) - np.diff(sums[bounds]) * means
        same = values[bounds[:-1]] == values[bounds[1:] - 1]
        worst = np.where(same, -1, errors).argmax()
        if same[worst]:  # fewer values than levels: the other levels lie above them
            step = max(1.0, abs(means[-1]))
            spare = np.arange(1, count - len(means) + 1) * step
            return np.concatenate([means, means[-1] + spare])
        first, last = bounds[worst : worst + 2]
        cut = first + np.searchsorted(values[first:last], means[worst])
        bounds = np.insert(bounds, worst + 1, min(max(cut, first + 1), last - 1))


def _lloyd(
    values: np.ndarray, sums: np.ndarray, levels: np.ndarray
) -> tuple[float, np.ndarray]:
    """Improve levels for sorted values; return their mean squared error and them."""

    def cells(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        middle = (levels[1:] + levels[:-1]) / 2
        bounds = np.searchsorted(values, middle)
        bounds = np.concatenate([[0], bounds, [len(values)]])
        return np.diff(bounds), np.diff(sums[bounds])

    for _ in range(LLOYD_STEPS):
        counts, totals = cells(levels)
        # A level that no value is rounded to stays where it is.
        better = np.where(counts > 0, totals / np.maximum(counts, 1), levels)
        moved = np.abs(better - levels).max()
        levels = better
        if moved <= 1e-6 * (levels[-1] - levels[0]):
            break
    counts, totals = cells(levels)
    error = np.square(values).sum() - (2 * levels * totals - counts * levels**2).sum()
    return error / len(values), levels
