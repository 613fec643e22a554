"""What all metrics need: checked pairs of image stacks, measured block by block."""

from collections.abc import Callable

import numpy as np

from caebook.images import check_floats, slices

BLOCK = 128  # images worked on at once: their working arrays fit a processor's cache


def per_image(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    reference: np.ndarray,
    test: np.ndarray,
) -> np.ndarray:
    """Apply `measure` to pairs of images, block by block.

    Parameters
    ----------
    measure
        Takes two blocks ``(n, height, width)`` and returns n values.
    reference, test
        Checked arrays of one shape, ``(N, height, width)`` or ``(height, width)``.

    Returns
    -------
    numpy.ndarray
        float64 ``(N,)``; one number for a single pair of images.
    """
    images, compared = as_stack(reference), as_stack(test)
    values = np.empty(len(images))
    for part in slices(len(images), BLOCK):
        values[part] = measure(images[part], compared[part])
    return values.reshape(reference.shape[:-2])[()]


def as_stack(images: np.ndarray) -> np.ndarray:
    """View one image ``(height, width)`` as a stack of one; leave a stack as it is."""
    return images if images.ndim == 3 else images[None]


def checked_images(images: np.ndarray, name: str) -> np.ndarray:
    """Return `images` if they are uint8 ``(N, height, width)`` or ``(height, width)``.

    Raises
    ------
    TypeError
        If they are not a NumPy array of uint8.
    ValueError
        If the shape is another, or holds no pixels.
    """
    if not isinstance(images, np.ndarray):
        raise TypeError(f"{name}: a NumPy array is needed, not {type(images).__name__}")
    if np.issubdtype(images.dtype, np.floating):
        raise TypeError(
            f"{name}: uint8 images are needed, not {images.dtype}; a decoder's floats "
            "become images with caebook.images.to_uint8"
        )
    if images.dtype != np.uint8:
        raise TypeError(
            f"{name}: uint8 images are needed, not {images.dtype}; if its values are "
            "whole and within 0…255, use .astype(np.uint8)"
        )
    _check_shape(images, name)
    return images


def _check_shape(images: np.ndarray, name: str) -> None:
    if images.ndim not in (2, 3):
        raise ValueError(
            f"{name}: shape {images.shape} is neither (N, height, width) nor "
            f"(height, width){_channel_hint(images, name)}"
        )
    if images.size == 0:
        raise ValueError(f"{name}: shape {images.shape} holds no pixels")


def _channel_hint(images: np.ndarray, name: str) -> str:
    if images.ndim == 4 and images.shape[-1] == 1:
        return f"; drop the channel axis: {name}[..., 0]"
    if images.ndim == 4 and images.shape[1] == 1:
        return f"; drop the channel axis: {name}[:, 0]"
    return ""


def checked_pair(
    reference: np.ndarray, test: np.ndarray, smallest: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return two uint8 arrays of images if they can be compared.

    Raises
    ------
    TypeError, ValueError
        As in `checked_images`, if the shapes differ, or if a side of the images is
        shorter than `smallest` pixels.
    """
    checked_images(reference, "reference")
    checked_images(test, "test")
    _check_same_shape(reference, test, "reference", "test")
    if min(reference.shape[-2:]) < smallest:
        height, width = reference.shape[-2:]
        raise ValueError(
            f"reference and test: {height}×{width} pixels, but the measure's window "
            f"needs at least {smallest}×{smallest}"
        )
    return reference, test


def checked_prediction(
    images: np.ndarray, floats: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 images and a decoder's floats if they can be compared.

    Raises
    ------
    TypeError, ValueError
        As in `checked_images` and `caebook.images.check_floats`, or if the shapes
        differ.
    """
    images = checked_images(images, "images")
    floats = check_floats(floats, "floats")
    _check_same_shape(images, floats, "images", "floats")
    return images, floats


def _check_same_shape(
    first: np.ndarray, second: np.ndarray, first_name: str, second_name: str
) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"{first_name} has shape {first.shape} but {second_name} has "
            f"{second.shape}; they must be equal{_channel_hint(second, second_name)}"
        )
