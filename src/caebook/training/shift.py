"""Augmentation: training images that are moved by a pixel, so that there are more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caebook.images import check_images

# Together with a seed, no other generator of a training draws what this one does.
_SHIFT = 4


def shift(images: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Move some images by at most a pixel along each axis; what comes in is black.

    Parameters
    ----------
    images : uint8 (N, 28, 28)
    share : 0 to 1, of the images; each of the nine moves is as likely, and one of
        them leaves an image where it is
    rng : is advanced

    Returns
    -------
    ndarray
        uint8 (N, 28, 28), a copy.
    """
    check_images(images)
    chosen = rng.random(len(images)) < share
    moves = np.where(chosen, rng.integers(0, 9, len(images)), 4)
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    moved = np.empty_like(images)
    for move in range(9):
        row, column = divmod(move, 3)
        which = moves == move
        moved[which] = framed[which, row : row + 28, column : column + 28]
    return moved


def training_shift(
    share: float | None, seed: int, epoch: int
) -> Callable[[np.ndarray], np.ndarray]:
    """The function from the batches of an epoch, in their order, to shifted ones.

    Drawn anew in each epoch, from seed and epoch only: both frameworks train on the
    same images, and so does a training that was resumed. Without `share` the function
    returns its batch.
    """
    if share is None:
        return lambda images: images
    rng = np.random.default_rng([seed, epoch, _SHIFT])
    return lambda images: shift(images, share, rng)
