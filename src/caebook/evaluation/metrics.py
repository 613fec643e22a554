"""How far a reconstruction is from its original: MSE, PSNR, BCE, SSIM, UQI.

Every comparison is made on decoded ``uint8`` images, as a decoder returns them, and
gives one value per image. Only `bce`, the loss that networks are trained with, reads a
decoder's floats.

Images come as ``(N, height, width)``, and results as ``(N,)``; one image
``(height, width)`` gives one number. Work is done in blocks of images, so memory does
not grow with their count.
"""

import numpy as np

from caebook.evaluation.pairs import (
    checked_images,
    checked_pair,
    checked_prediction,
    per_image,
)
from caebook.evaluation.uqi import uqi, uqi_sewar
from caebook.images import to_uint8

__all__ = [
    "bce",
    "mse",
    "pixel_entropy",
    "psnr",
    "psnr_of_mse",
    "score",
    "ssim",
    "uqi",
    "uqi_sewar",
]

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
        If the images are not uint8, or their shapes differ or are not those of images.
    """
    return per_image(_mse_block, *checked_pair(reference, test))


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
    prediction, clipped to [1e-7, 1 − 1e-7]. A perfect reconstruction does not give 0
    but the image's `pixel_entropy`.

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
        If the shapes differ or are not those of images, or a prediction is NaN or
        outside [0, 1].
    """
    images, floats = checked_prediction(images, floats)
    if floats.min() < 0 or floats.max() > 1:
        raise ValueError(
            f"floats: values from {floats.min():.4g} to {floats.max():.4g}, but a "
            "binary cross-entropy needs [0, 1]; divide grey levels by 255, and clip "
            "what an unbounded last layer gives: np.clip(floats, 0, 1)"
        )
    return per_image(_bce_block, images, floats)


def pixel_entropy(images: np.ndarray) -> np.ndarray:
    """Binary entropy of the pixels read as probabilities, mean per image, in nats.

    The binary cross-entropy of a perfect reconstruction: the least that `bce` can be.

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
        If the images are not uint8 or their shape is not that of images.
    """
    images = checked_images(images, "images")
    inner = np.arange(1, 255) / 255
    entropy_of_level = np.zeros(256)  # black and white are certain: 0
    entropy_of_level[1:-1] = -inner * np.log(inner) - (1 - inner) * np.log1p(-inner)
    return per_image(
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
    return per_image(_ssim_block, *checked_pair(reference, test, window))


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
    images, floats = checked_prediction(images, floats)
    if images.ndim != 3:
        raise ValueError(
            f"images: shape {images.shape}; score takes a set of images "
            "(N, height, width): add an axis with images[None]"
        )
    decoded = to_uint8(floats)
    mean_mse = mse(images, decoded).mean()
    return {
        "images": len(images),
        "bce": float(per_image(_bce_block, images, floats).mean()),
        "mse": float(mean_mse),
        "psnr": float(psnr_of_mse(mean_mse)),
        "ssim": float(ssim(images, decoded).mean()),
        "uqi": float(uqi(images, decoded).mean()),
        "uqi_sewar": float(uqi_sewar(images, decoded).mean()),
    }


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
    from scipy import ndimage  # here: slow to import, and the codec needs no SSIM

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
