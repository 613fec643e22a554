"""Images as arrays: uint8 pixels, floats in [0, 1], checks, and slices of a stack."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Pixels on a side of the images that the book's networks take.
SIDE = 28


def to_float(images: np.ndarray) -> np.ndarray:
    """Scale uint8 pixels (…) to float32 in [0, 1]."""
    return images.astype(np.float32) / np.float32(255)


def to_uint8(floats: np.ndarray) -> np.ndarray:
    """Decode floats to 8-bit grey levels, ``rint(255 · clip(x, 0, 1))``.

    Parameters
    ----------
    floats
        Float array of any shape. Values outside [0, 1], which an unbounded last layer
        can return, are clipped.

    Returns
    -------
    numpy.ndarray
        uint8, same shape. Rounding, not truncation: truncating darkens every pixel.

    Raises
    ------
    TypeError
        If the array does not hold floats.
    ValueError
        If a value is NaN or infinite.
    """
    floats = check_floats(floats, "floats")
    levels = np.empty(floats.shape, np.uint8)
    flat_floats, flat_levels = floats.reshape(-1), levels.reshape(-1)
    for part in slices(flat_floats.size, 1 << 17):
        unit = np.clip(flat_floats[part], 0, 1)
        if unit.dtype == np.float16:  # in which 255 · x is not exact
            unit = unit.astype(np.float32)
        flat_levels[part] = np.rint(255 * unit)
    return levels


def check_images(images: np.ndarray, what: str = "images") -> None:
    """Raise unless `images` is a non-empty uint8 array of shape (N, 28, 28).

    Raises
    ------
    TypeError
        If it is not an array of this type and shape.
    ValueError
        If it holds no image.
    """
    if not isinstance(images, np.ndarray):
        raise TypeError(f"{what} must be a NumPy array, not {type(images).__name__}")
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise TypeError(
            f"{what} must be uint8 of shape (N, {SIDE}, {SIDE}), not {images.dtype} of "
            f"shape {images.shape}; they are scaled to [0, 1] batch by batch"
        )
    if len(images) == 0:
        raise ValueError(f"{what} must hold at least one image")


def check_floats(floats: np.ndarray, name: str) -> np.ndarray:
    """Return `floats` if it is an array of finite floats, of any shape.

    Raises
    ------
    TypeError
        If it does not hold floats.
    ValueError
        If a value is NaN or infinite.
    """
    if not isinstance(floats, np.ndarray):
        raise TypeError(f"{name}: a NumPy array is needed, not {type(floats).__name__}")
    if not np.issubdtype(floats.dtype, np.floating):
        raise TypeError(
            f"{name}: a decoder's floats in [0, 1] are needed, not {floats.dtype}"
        )
    if not np.isfinite(floats).all():
        raise ValueError(
            f"{name}: some values are NaN or infinite; the training has probably "
            "diverged"
        )
    return floats


def slices(count: int, size: int = 100) -> list[slice]:
    """Split `count` items into consecutive slices of at most `size`.

    Working slice by slice bounds the memory that a stack of images needs.
    """
    return [slice(start, start + size) for start in range(0, count, size)]


def in_batches(
    function: Callable[[np.ndarray], np.ndarray], values: np.ndarray, size: int
) -> np.ndarray:
    """Apply `function` to batches of at most `size` values; join what it returns.

    Each result is copied into one array at once. Kept until the end, small results lie
    between large blocks of freed memory, and glibc then often does not use these again:
    a classifier took 500 MB for a few seconds.

    Parameters
    ----------
    function : maps n values (n, …) to n results, which always have the same shape
    values : (N, …), not empty
    """
    joined = None
    for part in slices(len(values), size):
        result = function(values[part])
        if joined is None:
            joined = np.empty((len(values), *result.shape[1:]), result.dtype)
        joined[part] = result
    if joined is None:
        raise ValueError("there are no values to compute with")
    return joined
