"""The universal image quality index: as published, and as sewar computes it."""

import numpy as np

from caebook.evaluation.pairs import BLOCK, as_stack, checked_pair, per_image

WINDOW = 8  # side of the index's window, as Wang & Bovik chose it


def uqi(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Universal image quality index per image, as its authors define it.

    For every 8×8 window, step 1, that lies wholly inside the image (21×21 of them in
    28×28), the product of a luminance term and a term for correlation and contrast,
    ``[2·x̄·ȳ / (x̄² + ȳ²)] · [2·σxy / (σx² + σy²)]``; then the mean [1]_. If both
    windows are flat, the second term is 1; if both are black, the first is 1 too; if
    only one is flat, the index is 0.

    Sums, variances and covariances are exact, in integers; rounding begins with the
    two divisions.

    Parameters
    ----------
    reference, test
        uint8 images of at least 8×8 pixels, both ``(N, height, width)`` or both
        ``(height, width)``.

    Returns
    -------
    numpy.ndarray
        float64 ``(N,)`` in [-1, 1]; 1 for equal images; symmetric in its arguments.

    Raises
    ------
    TypeError, ValueError
        As in `mse`, and if the images are smaller than the window.

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, "A universal image quality index", IEEE Signal
       Processing Letters 9 (2002), 81–84.
    """
    reference, test = checked_pair(reference, test, WINDOW)
    # Images last: a window's sum then adds long runs of neighbouring numbers. The
    # working arrays are allocated once; allocating them for each block takes longer
    # than the arithmetic.
    block = min(BLOCK, len(as_stack(reference)))
    work = np.empty((5, *reference.shape[-2:], block), np.int32)
    return per_image(
        lambda images, compared: _uqi_block(images, compared, work[..., : len(images)]),
        reference,
        test,
    )


def uqi_sewar(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """What the sewar library calls UQI, image by image; not the published index.

    Calls ``sewar.full_ref.uqi`` on each pair of uint8 images. Version 0.4.10 uses
    window means where the formula needs window sums, which mixes the means into
    variances and covariance, and omits the last row and column of windows: unrelated
    noise scores close to 1. It is here because the source projects report it; the
    book's own measure is `uqi`.

    Parameters
    ----------
    reference, test
        uint8 images of at least 9×9 pixels (the library finds no window in 8×8),
        both ``(N, height, width)`` or both ``(height, width)``.

    Returns
    -------
    numpy.ndarray
        float64 ``(N,)``.

    Raises
    ------
    TypeError, ValueError
        As in `mse`, and if the images are smaller than 9×9.
    """
    from sewar import full_ref  # here: slow to import, and only this needs it

    # One call per image: sewar would take a stack for one image with N channels.
    return per_image(
        lambda *stacks: np.fromiter(map(full_ref.uqi, *stacks), np.float64),
        *checked_pair(reference, test, WINDOW + 1),
    )


def _uqi_block(
    images: np.ndarray, compared: np.ndarray, work: np.ndarray
) -> np.ndarray:
    """UQI of a block of images ``(n, h, w)``; `work` is int32 ``(5, h, w, n)``.

    With n = 64 pixels a window, and S for a sum over it, the two terms are
    ``2·Sx·Sy / (Sx² + Sy²)`` and ``2·(n·Sxy − Sx·Sy) / (n·(Sxx + Syy) − Sx² − Sy²)``.
    No number in them exceeds n²·2·255² < 2³¹, so 32-bit integers hold all.
    """
    x, y, products, squares, spare = work
    x[...] = np.moveaxis(images, 0, -1)
    y[...] = np.moveaxis(compared, 0, -1)
    np.multiply(x, y, out=products)
    np.multiply(x, x, out=squares)
    squares += np.multiply(y, y, out=spare)
    sum_x, sum_y, sum_products, sum_squares = (
        _window_sums(pixels, spare) for pixels in (x, y, products, squares)
    )
    free = spare[: len(sum_x), : sum_x.shape[1]]
    sums_product = np.multiply(sum_x, sum_y, out=free)
    sums_squared = np.square(sum_x, out=sum_x)
    sums_squared += np.square(sum_y, out=sum_y)
    covariance = np.multiply(sum_products, WINDOW**2, out=sum_products)
    covariance -= sums_product
    variances = np.multiply(sum_squares, WINDOW**2, out=sum_squares)
    variances -= sums_squared
    sums_product *= 2
    covariance *= 2
    quality = _ratio(sums_product, sums_squared)
    quality *= _ratio(covariance, variances)
    # Each image's windows side by side again, so that the order of summation, and
    # with it the last bit, does not depend on how many images there are.
    return np.ascontiguousarray(quality.reshape(-1, len(images)).T).mean(axis=1)


def _window_sums(pixels: np.ndarray, spare: np.ndarray) -> np.ndarray:
    """Sum every 8×8 window of ``(h, w, n)``: pairs, then fours, then eights.

    Each of the six steps reads one of the two arrays and writes the other; the sums end
    in `pixels`. Returns a view ``(h − 7, w − 7, n)`` of it.
    """
    for shift in (1, 2, 4):
        upper, lower = pixels[:-shift], pixels[shift:]
        target = spare[: len(upper), : upper.shape[1]]
        pixels, spare = np.add(upper, lower, out=target), pixels
    for shift in (1, 2, 4):
        left, right = pixels[:, :-shift], pixels[:, shift:]
        target = spare[: len(left), : left.shape[1]]
        pixels, spare = np.add(left, right, out=target), pixels
    return pixels


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide in place, with 0/0 (black windows, or flat ones) taken as 1."""
    # In both terms the numerator is 0 wherever the denominator is: |2ab| ≤ a² + b².
    empty = denominator == 0
    numerator += empty
    denominator += empty
    return numerator / denominator
