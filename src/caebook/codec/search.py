"""Search for a cheaper code at encoding time; decoding is as before.

A code number that is rounded to the other neighbour may cost fewer bits, or give a
better reconstruction: the encoder, which only estimates the code, does not know. The
search tries neighbours and keeps what lowers bits + weight · squared error.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caebook.codec.entropy import PRECISION
from caebook.images import slices

_PART = 500  # images that are searched at a time

#: A step that would have cost so many bits more is not tried again.
MARGIN = 12.0


def bits_of_levels(tables: np.ndarray) -> np.ndarray:
    """Bits that each level costs at each position, float64 (n, K).

    Parameters
    ----------
    tables : ndarray of uint16, shape (n, K)
        From `caebook.codec.frequencies`.
    """
    return PRECISION - np.log2(tables.astype(float))


def squared_errors(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Sum over the pixels of each image's squared errors, where white is 1: (N,)."""
    difference = images.astype(np.float32) - reconstructions
    return np.square(difference).sum(axis=(1, 2), dtype=float) / 255**2


def search(
    images: np.ndarray,
    symbols: np.ndarray,
    decode: Callable[[np.ndarray], np.ndarray],
    tables: np.ndarray,
    weight: float,
    sweeps: int = 2,
    margin: float = MARGIN,
) -> np.ndarray:
    """Change indices by one wherever that lowers bits + weight · squared error.

    The first sweep tries, for each number of a code in turn, the level below and the
    one above: two decodings an image and number. Later sweeps leave out what was far
    from paying before.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 28, 28)
        What is to be encoded.
    symbols : ndarray of uint8, shape (N, n)
        Indices to start from.
    decode : callable
        Indices (N, n) → reconstructions, uint8 (N, 28, 28).
    tables : ndarray of uint16, shape (n, K)
        The entropy coder's.
    weight : float
        Bits for a squared error of 1, one pixel black instead of white.
    sweeps : int
        How often each number is tried, at most.
    margin : float
        A step that would have cost so many bits more is not tried again.

    Returns
    -------
    ndarray of uint8, shape (N, n)
        Indices that cost no more than those given.
    """
    found = symbols.copy()
    price = bits_of_levels(tables)
    for part in slices(len(images), _PART):
        found[part] = _search(
            images[part], found[part], decode, price, weight, sweeps, margin
        )
    return found


def _search(
    images: np.ndarray,
    symbols: np.ndarray,
    decode: Callable[[np.ndarray], np.ndarray],
    price: np.ndarray,
    weight: float,
    sweeps: int,
    margin: float,
) -> np.ndarray:
    """Search images that are decoded together; changes `symbols` and returns it."""
    numbers, levels = price.shape
    places = np.arange(numbers)

    def cost(symbols: np.ndarray, images: np.ndarray) -> np.ndarray:
        bits = price[places, symbols].sum(axis=1)
        return bits + weight * squared_errors(images, decode(symbols))

    lowest = cost(symbols, images)
    loss = np.zeros((len(images), numbers, 2))  # bits more, when a step was last tried
    for _ in range(sweeps):
        before = lowest.copy()
        for place in places:
            for side, step in enumerate((-1, 1)):
                level = symbols[:, place].astype(int) + step
                likely = loss[:, place, side] <= margin
                rows = np.flatnonzero((level >= 0) & (level < levels) & likely)
                if rows.size == 0:
                    continue
                tried = symbols[rows]
                tried[:, place] = level[rows]
                costs = cost(tried, images[rows])
                loss[rows, place, side] = costs - lowest[rows]
                better = costs < lowest[rows]
                symbols[rows[better]] = tried[better]
                lowest[rows[better]] = costs[better]
        if (lowest == before).all():
            break
    return symbols
