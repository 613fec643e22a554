"""Streams with a table for each image and place, which may depend on earlier places.

An autoregressive prior predicts a number of a code from the numbers before it. Such a
code is written place by place, a stream for each place of all images, so that a reader
knows all earlier places before it needs a table.

Tables that are computed in floats must be computed by the same program on the same kind
of machine when they are read: one integer that differs makes the rest unreadable.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caebook.codec.entropy import StaticCoder, frequencies

#: From indices (N, n), of which the first `place` are known, to tables (N, K), uint16.
Tables = Callable[[np.ndarray, int], np.ndarray]

_COUNTS = 1 << 30  # a probability of 1, before it becomes a frequency


def logistic_tables(
    mean: np.ndarray, log_scale: np.ndarray, levels: np.ndarray
) -> np.ndarray:
    """Frequencies of integer levels under logistic distributions, uint16 (N, K).

    Parameters
    ----------
    mean, log_scale : ndarray of float, shape (N,)
        Of each image's distribution.
    levels : ndarray of float, shape (K,)
        Integers in ascending order; the outer ones take the tails.
    """
    inner = (levels[1:] + levels[:-1]) / 2
    with np.errstate(over="ignore"):  # a narrow distribution: exp(…) is infinite
        distance = (mean[:, None] - inner) / np.exp(log_scale)[:, None]
        below = 1 / (1 + np.exp(distance))
    ends = np.zeros((len(mean), 1)), np.ones((len(mean), 1))
    parts = np.diff(np.hstack([ends[0], below, ends[1]]), axis=1)
    return frequencies((parts * _COUNTS).astype(np.int64) + 1)


def encode_in_order(tables: Tables, symbols: np.ndarray) -> list[bytes]:
    """Indices, uint8 (N, n) → n streams, one a place.

    Parameters
    ----------
    tables : callable
        Called with `symbols` and each place; must not look at this or later places.
    symbols : ndarray of uint8, shape (N, n)
    """
    return [
        StaticCoder(tables(symbols, place)).encode(symbols[None, :, place])
        for place in range(symbols.shape[1])
    ]


def decode_in_order(tables: Tables, streams: list[bytes], count: int) -> np.ndarray:
    """The streams of `count` images → their indices, uint8 (count, n).

    Places that are not known yet are 0 where `tables` is called.

    Raises
    ------
    CorruptFile
        If a stream is damaged, or was written with other tables.
    """
    symbols = np.zeros((count, len(streams)), np.uint8)
    for place, stream in enumerate(streams):
        coder = StaticCoder(tables(symbols, place))
        symbols[:, place] = coder.decode(stream, 1)[0]
    return symbols
