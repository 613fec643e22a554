"""How far a reconstruction is from its original: MSE, PSNR, BCE, SSIM, UQI.

Every comparison is made on decoded ``uint8`` images, what a decoder hands out, and
gives one value per image. One function reads a decoder's floats instead: `bce`, the
loss that networks are trained with.

Images come as ``(N, height, width)``, and results as ``(N,)``; one image
``(height, width)`` gives one number. Work is done in blocks of images, so memory does
not grow with their count.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage, stats
from sewar import full_ref

from caebook.images import check_floats, slices, to_uint8

__all__ = [
    "bce",
    "bootstrap_interval",
    "mse",
    "pixel_entropy",
    "psnr",
    "psnr_of_mse",
    "score",
    "ssim",
    "uqi",
    "uqi_sewar",
]

BLOCK = 128  # images worked on at once: their working arrays fit a processor's cache
WINDOW = 8  # side of the UQI's window, as Wang & Bovik chose it
SSIM_RADIUS = 5  # the Gaussian of SSIM is cut off here: an 11×11 window
SSIM_SIGMA = 1.5
CLIP = 1e-7  # keeps log(0) out of the binary cross-entropy, as Keras does


def mse(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Mean squared error per image, on the scale where white is 1.

    Parameters
    ----------
    reference, test
        uint8 images, both ``(N, height, width)`` or both ``(height, width)``.

    Returns
    -------
    numpy.ndarray
        float64 ``(N,)`` in [0, 1]; the sum of squares is exact, in integers.

    Raises
    ------
    TypeError, ValueError
        If the images are not uint8, or their shapes differ or are not images'.
    """
    return _per_image(_mse_block, *_checked_pair(reference, test))


def psnr(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio per image, in decibels; infinite where equal.

    The mean of these is not the PSNR of a set: that is `psnr_of_mse` of the mean MSE,
    which `score` reports. Parameters and errors as in `mse`.

    Returns
    -------
    numpy.ndarray
        float64 ``(N,)``, 0 dB or more.
    """
    return psnr_of_mse(mse(reference, test))


def psnr_of_mse(error: float | np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio, in decibels, of a mean squared error.

    ``-10 · log10(error)``, the peak being 1.

    Parameters
    ----------
    error
        Mean squared error, or many, on the scale where white is 1.

    Returns
    -------
    numpy.ndarray
        float64, the shape of `error`; infinite where the error is 0.

    Raises
    ------
    ValueError
        If an error is negative or NaN.
    """
    error = np.asarray(error, np.float64)
    if not (error >= 0).all():
        raise ValueError("psnr_of_mse: a mean squared error is never negative or NaN")
    with np.errstate(divide="ignore"):
        return -10 * np.log10(error) + 0.0  # + 0.0: an error of 1 gives 0, not -0


def bce(images: np.ndarray, floats: np.ndarray) -> np.ndarray:
    """Binary cross-entropy per image, the mean over pixels, in nats.

    ``-[p · ln q + (1 − p) · ln(1 − q)]`` with p the image's pixel in [0, 1] and q the
    prediction, kept within [1e-7, 1 − 1e-7]. A perfect copy does not give 0 but the
    image's `pixel_entropy`.

    Parameters
    ----------
    images
        uint8 images, ``(N, height, width)`` or ``(height, width)``.
    floats
        A decoder's floats in [0, 1], same shape, before any rounding to uint8.

    Returns
    -------
    numpy.ndarray
        float64 ``(N,)``, never below `pixel_entropy`.

    Raises
    ------
    TypeError
        If `images` is not uint8 or `floats` does not hold floats.
    ValueError
        If the shapes differ or are not images', or a prediction is NaN or outside
        [0, 1].
    """
    images, floats = _checked_prediction(images, floats)
    if floats.min() < 0 or floats.max() > 1:
        raise ValueError(
            f"floats: values from {floats.min():.4g} to {floats.max():.4g}, but a "
            "binary cross-entropy needs [0, 1]; divide grey levels by 255, and clip "
            "what an unbounded last layer gives: np.clip(floats, 0, 1)"
        )
    return _per_image(_bce_block, images, floats)


def pixel_entropy(images: np.ndarray) -> np.ndarray:
    """Binary entropy of the pixels read as probabilities, mean per image, in nats.

    The binary cross-entropy of a perfect copy, so the least that `bce` can reach.

    Parameters
    ----------
    images
        uint8 images, ``(N, height, width)`` or ``(height, width)``.

    Returns
    -------
    numpy.ndarray
        float64 ``(N,)`` in [0, ln 2].

    Raises
    ------
    TypeError, ValueError
        If the images are not uint8 or their shape is not images'.
    """
    images = _checked_images(images, "images")
    inner = np.arange(1, 255) / 255
    entropy_of_level = np.zeros(256)  # black and white are certain: 0
    entropy_of_level[1:-1] = -inner * np.log(inner) - (1 - inner) * np.log1p(-inner)
    return _per_image(
        lambda block, _: entropy_of_level[block].mean(axis=(1, 2)), images, images
    )


def ssim(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Structural similarity per image, with the settings of its authors.

    A Gaussian window of standard deviation 1.5, cut to 11×11, population variances,
    K1 = 0.01, K2 = 0.03 and L = 255, averaged over the windows that lie wholly inside
    the image (18×18 of them in 28×28) [1]_. Equal to scikit-image's
    ``structural_similarity(…, data_range=255, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False)`` on each image, computed for many at once.

    Parameters
    ----------
    reference, test
        uint8 images of at least 11×11 pixels, both ``(N, height, width)`` or both
        ``(height, width)``.

    Returns
    -------
    numpy.ndarray
        float64 ``(N,)`` in [-1, 1]; 1 for equal images.

    Raises
    ------
    TypeError, ValueError
        As in `mse`, and if the images are smaller than the window.

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality
       assessment: from error visibility to structural similarity", IEEE Transactions
       on Image Processing 13 (2004), 600–612.
    """
    window = 2 * SSIM_RADIUS + 1
    return _per_image(_ssim_block, *_checked_pair(reference, test, window))


def uqi(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Universal image quality index per image, as its authors define it.

    For every 8×8 window, step 1, that lies wholly inside the image (21×21 of them in
    28×28), the product of a luminance term and a term for correlation and contrast,
    ``[2·x̄·ȳ / (x̄² + ȳ²)] · [2·σxy / (σx² + σy²)]``; then the mean [1]_. Where both
    windows are flat the second term is 1, where both are black the first is 1 too;
    where just one is flat the index is 0.

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
    reference, test = _checked_pair(reference, test, WINDOW)
    # Images last: a window's sum then adds long runs of neighbouring numbers. The
    # working arrays are made once; making them anew for each block costs more time
    # than the arithmetic.
    block = min(BLOCK, len(_as_stack(reference)))
    work = np.empty((5, *reference.shape[-2:], block), np.int32)
    return _per_image(
        lambda images, compared: _uqi_block(images, compared, work[..., : len(images)]),
        reference,
        test,
    )


def uqi_sewar(reference: np.ndarray, test: np.ndarray) -> np.ndarray:
    """What the sewar library calls UQI, image by image; not the published index.

    Calls ``sewar.full_ref.uqi`` on each pair of uint8 images. Version 0.4.10 takes
    window means for window sums, which mixes the means into variances and covariance,
    and leaves out the last row and column of windows: unrelated noise scores close to
    1. It is here because the source projects report it; the measure is `uqi`.

    Parameters
    ----------
    reference, test
        uint8 images of at least 9×9 pixels (in 8×8 the library has no window left),
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
    # One call per image: a stack would be taken for one image with N channels.
    return _per_image(
        lambda *stacks: np.fromiter(map(full_ref.uqi, *stacks), np.float64),
        *_checked_pair(reference, test, WINDOW + 1),
    )


def score(images: np.ndarray, floats: np.ndarray) -> dict[str, int | float]:
    """Score a decoder's output on a test set: the ``test`` entry of ``run.json``.

    Parameters
    ----------
    images
        uint8 originals, ``(N, height, width)``.
    floats
        The decoder's floats, same shape. They are clipped to [0, 1] first, as decoding
        does, so that a network with an unbounded last layer can be scored.

    Returns
    -------
    dict
        ``images`` (their count) and the means over them of ``bce`` (on the floats),
        ``mse``, ``ssim``, ``uqi`` and ``uqi_sewar`` (on the decoded uint8); ``psnr`` is
        that of the mean MSE, in decibels, infinite if every image is exact.

    Raises
    ------
    TypeError
        If `images` is not uint8 or `floats` does not hold floats.
    ValueError
        If the shapes differ or are not ``(N, height, width)``, or a float is NaN or
        infinite.
    """
    images, floats = _checked_prediction(images, floats)
    if images.ndim != 3:
        raise ValueError(
            f"images: shape {images.shape}; score takes a set of images "
            "(N, height, width): add an axis with images[None]"
        )
    decoded = to_uint8(floats)
    mean_mse = mse(images, decoded).mean()
    return {
        "images": len(images),
        "bce": float(_per_image(_bce_block, images, floats).mean()),
        "mse": float(mean_mse),
        "psnr": float(psnr_of_mse(mean_mse)),
        "ssim": float(ssim(images, decoded).mean()),
        "uqi": float(uqi(images, decoded).mean()),
        "uqi_sewar": float(uqi_sewar(images, decoded).mean()),
    }


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval for the mean of per-image values.

    Answers how far the mean would move with another draw of test images from the same
    source; it knows nothing of another training.

    Parameters
    ----------
    values
        One finite value per image, ``(N,)`` with N at least 2.
    level
        Coverage, strictly between 0 and 1.
    resamples
        How many resampled means are drawn.
    seed
        Seed of the resampling: same seed, same interval.

    Returns
    -------
    low, high : float
        In the unit of `values`.

    Raises
    ------
    ValueError
        If there are fewer than two values, one is not finite, or `level` or
        `resamples` is out of range.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"values: shape {values.shape}; an interval needs one value per image, "
            "at least two"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            "values: some are NaN or infinite, so they have no mean; for PSNR, "
            "bootstrap the MSE and convert the ends with psnr_of_mse"
        )
    if not 0 < level < 1:
        raise ValueError(f"level: {level} is not between 0 and 1; use 0.95 for 95 %")
    if resamples < 1:
        raise ValueError(f"resamples: {resamples}; at least one is needed")
    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, 250_000 // len(values)),  # bounds memory at about 6 MB
        confidence_level=level,
        method="percentile",
        rng=seed,
    ).confidence_interval
    return float(interval.low), float(interval.high)


# --- one block of images at a time --------------------------------------------------


def _mse_block(images: np.ndarray, compared: np.ndarray) -> np.ndarray:
    difference = images.astype(np.int32) - compared
    squares = np.square(difference).sum(axis=(1, 2), dtype=np.int64)
    return squares / (255**2 * images[0].size)


def _bce_block(images: np.ndarray, floats: np.ndarray) -> np.ndarray:
    wanted = images / 255
    predicted = np.clip(floats.astype(np.float64), CLIP, 1 - CLIP)  # and into [0, 1]
    gain = wanted * np.log(predicted) + (1 - wanted) * np.log1p(-predicted)
    return -gain.mean(axis=(1, 2))


def _ssim_block(images: np.ndarray, compared: np.ndarray) -> np.ndarray:
    def window_mean(pixels: np.ndarray) -> np.ndarray:
        sigma = (0, SSIM_SIGMA, SSIM_SIGMA)  # 0: images do not run into each other
        blurred = ndimage.gaussian_filter(pixels, sigma, radius=SSIM_RADIUS)
        inside = slice(SSIM_RADIUS, -SSIM_RADIUS)
        return blurred[:, inside, inside]

    x, y = images.astype(np.float64), compared.astype(np.float64)
    mean_x, mean_y = window_mean(x), window_mean(y)
    variance_x = window_mean(x * x) - mean_x**2
    variance_y = window_mean(y * y) - mean_y**2
    covariance = window_mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).mean(axis=(1, 2))


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

    Works to and fro between the two arrays; after six steps the sums lie in `pixels`,
    and a view ``(h − 7, w − 7, n)`` of it is returned.
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
    """Divide, taking 0/0 (black windows, or flat ones) as 1; changes its arguments."""
    # In both terms the numerator is 0 wherever the denominator is: |2ab| ≤ a² + b².
    empty = denominator == 0
    numerator += empty
    denominator += empty
    return numerator / denominator


# --- blocks and checks --------------------------------------------------------------


def _per_image(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    reference: np.ndarray,
    test: np.ndarray,
) -> np.ndarray:
    """Apply `measure` to blocks of checked image pairs; one value per image."""
    images, compared = _as_stack(reference), _as_stack(test)
    values = np.empty(len(images))
    for part in slices(len(images), BLOCK):
        values[part] = measure(images[part], compared[part])
    return values.reshape(reference.shape[:-2])[()]


def _as_stack(images: np.ndarray) -> np.ndarray:
    return images if images.ndim == 3 else images[None]


def _checked_images(images: np.ndarray, name: str) -> np.ndarray:
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


def _checked_pair(
    reference: np.ndarray, test: np.ndarray, smallest: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    _checked_images(reference, "reference")
    _checked_images(test, "test")
    _check_same_shape(reference, test, "reference", "test")
    if min(reference.shape[-2:]) < smallest:
        height, width = reference.shape[-2:]
        raise ValueError(
            f"reference and test: {height}×{width} pixels, but the measure's window "
            f"needs at least {smallest}×{smallest}"
        )
    return reference, test


def _checked_prediction(
    images: np.ndarray, floats: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    images = _checked_images(images, "images")
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
