"""Noise for images: what a denoising network sees instead of the clean image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from caebook.images import check_images, to_uint8

Noise = Literal[
    "gaussian-20", "gaussian-40", "gaussian-80", "salt-pepper", "block", "blur"
]

#: All kinds of noise, by name.
NOISES: tuple[Noise, ...] = get_args(Noise)

SALT = PEPPER = 0.1  # shares of pixels that turn white and black
BLOCK, GREY = 10, 128  # side of the missing block, in pixels, and its grey level
BLUR = 1.5  # standard deviation of the blur, in pixels

# What a generator is for; together with a seed, none of them draws what another does,
# nor what `caebook.training.order` does.
_TRAINING, _VALIDATION, _TEST = 1, 2, 3


def add_noise(images: np.ndarray, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """Noisy versions of images: uint8 (N, 28, 28), like the images.

    The result is an image again: it is clipped to black and white, and rounded.

    Parameters
    ----------
    images : uint8 (N, 28, 28)
    noise : ``gaussian-20``, ``-40`` and ``-80`` add Gaussian noise with a standard
        deviation of .2, .4 and .8 of white. ``salt-pepper`` turns a tenth of the pixels
        white and a tenth black. ``block`` replaces 10 × 10 pixels within the middle
        20 × 20 by grey. ``blur`` blurs by a Gaussian, and draws nothing.
    rng : is advanced; the first images of a larger stack get the same noise

    Raises
    ------
    ValueError
        If there is no such noise.
    """
    check_images(images)
    if noise.startswith("gaussian-") and noise in NOISES:
        sigma = np.float32(noise.removeprefix("gaussian-")) / 100
        draws = rng.standard_normal(images.shape, np.float32)
        return to_uint8(images / np.float32(255) + sigma * draws)
    if noise == "salt-pepper":
        draws = rng.random(images.shape, np.float32)
        salted = np.where(draws < SALT, np.uint8(255), images)
        return np.where(draws >= 1 - PEPPER, np.uint8(0), salted)
    if noise == "block":
        first, last = 4, 24 - BLOCK  # the digit is within the middle 20 × 20
        noisy = images.copy()
        corners = rng.integers(first, last, (len(images), 2), endpoint=True)
        for image, (row, column) in zip(noisy, corners, strict=True):
            image[row : row + BLOCK, column : column + BLOCK] = GREY
        return noisy
    if noise == "blur":
        from scipy import ndimage  # here: slow to import, and few trainings need it

        pixels = images.astype(np.float32)
        blurred = ndimage.gaussian_filter(pixels, (0, BLUR, BLUR), mode="constant")
        return np.rint(blurred).clip(0, 255).astype(np.uint8)
    raise ValueError(f"noise {noise!r} is not one of {', '.join(NOISES)}")


def noisy_test_images(images: np.ndarray, noise: Noise) -> np.ndarray:
    """The test images with the noise on which all networks are tested: always the same.

    Parameters
    ----------
    images : the first N test images, uint8 (N, 28, 28)
    """
    return add_noise(images, noise, np.random.default_rng([0, _TEST]))


def training_noise(
    noise: Noise | None, seed: int, epoch: int
) -> Callable[[np.ndarray], np.ndarray]:
    """The function from the batches of an epoch, in their order, to noisy ones.

    The noise is drawn anew in each epoch. It depends on seed, epoch and batches only:
    so both frameworks train on the same, and so does a training that was resumed.
    Without `noise` the function returns its batch.
    """
    return _drawing(noise, [seed, epoch, _TRAINING])


def validation_noise(
    noise: Noise | None, seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    """As `training_noise`, for the validation images: the same after each epoch."""
    return _drawing(noise, [seed, _VALIDATION])


def _drawing(
    noise: Noise | None, seeds: list[int]
) -> Callable[[np.ndarray], np.ndarray]:
    if noise is None:
        return lambda images: images
    rng = np.random.default_rng(seeds)
    return lambda images: add_noise(images, noise, rng)
