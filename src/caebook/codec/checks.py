"""Checks of compressed images: does the model fit them?

The models are trained on white ink (255) on black (0). They compress any other image
too, but to a reconstruction that has little in common with it. So each reconstruction
is compared with the simplest one there is: a flat image of the image's own mean grey,
whose mean squared error is the variance of the pixels. Of MNIST's 10,000 test images,
the default model reconstructs one worse than that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caebook.codec.model import Model
from caebook.images import to_float

BRIGHT = 0.25  # mean grey of a border; in MNIST the largest is 0.05
SAMPLE = 2_000  # images that are tried transposed
GAIN = 0.95  # a smaller ratio of the errors, transposed to given, is worth a warning
SIGNIFICANT = 3.0  # standard errors of the mean difference


class Check:
    """Compares images with their reconstructions, part by part.

    Attributes
    ----------
    errors, variances, borders : list of ndarray of float
        Of each image so far: the reconstruction's mean squared error, the variance of
        the pixels and the border's mean grey, all on the scale where white is 1.
    brightest : int
        The brightest pixel so far, 0 to 255.
    """

    def __init__(self) -> None:
        self.errors: list[np.ndarray] = []
        self.variances: list[np.ndarray] = []
        self.borders: list[np.ndarray] = []
        self.brightest = 0

    def add(self, images: np.ndarray, reconstructions: np.ndarray) -> None:
        """Compare two arrays of images, uint8 (N, 28, 28)."""
        floats = to_float(images)
        self.errors.append(_errors(floats, to_float(reconstructions)))
        self.variances.append(floats.var(axis=(1, 2)))
        border = [floats[:, 0], floats[:, -1], floats[:, :, 0], floats[:, :, -1]]
        self.borders.append(np.concatenate(border, axis=1).mean(axis=1))
        self.brightest = max(self.brightest, int(images.max()))

    @property
    def mse(self) -> float:
        """Mean squared error of all reconstructions."""
        return float(np.concatenate(self.errors).mean())

    def warnings(
        self, given: np.ndarray, names: Sequence[str] | None, model: Model
    ) -> list[str]:
        """Warn of images that the model does not fit, one sentence for each cause.

        Parameters
        ----------
        given : ndarray of uint8, shape (N, 28, 28)
            All images.
        names : sequence of str or None
            Their names; None if they have none, and then indices are given.
        model : Model
            The one that compressed them.
        """
        if self.brightest == 1:
            return [
                "no pixel is above 1, and white is 255; if the images hold 0 and 1, "
                "multiply them by 255 and compress them again"
            ]
        found = []
        bright = np.concatenate(self.borders) > BRIGHT
        worse = np.concatenate(self.errors) > np.concatenate(self.variances)
        worse &= ~bright
        if bright.any():
            found.append(
                f"{_named(bright, names)} a bright border, and the model expects white "
                "ink on black; for black ink on white paper, add --invert"
            )
        elif text := transposed(given, model):
            return [text]
        if worse.any():
            found.append(
                f"{_named(worse, names)} a reconstruction that is worse than a flat "
                "grey image; the model does not fit such images"
            )
        return found


def transposed(images: np.ndarray, model: Model) -> str:
    """Warn if the model would reconstruct the transposed images better.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 28, 28)
        Of these, 2,000 at most are tried.
    model : Model

    Returns
    -------
    str
        A warning; empty if the errors are not clearly smaller, which takes more than
        one image: the mean difference must be three standard errors, and a twentieth.
    """
    step = -(-len(images) // SAMPLE)
    given = np.array(images[::step])
    turned = np.ascontiguousarray(given.transpose(0, 2, 1))
    before, after = (
        _errors(to_float(tried), to_float(model.images(model.symbols(tried))))
        for tried in (given, turned)
    )
    difference = before - after
    spread = difference.std() / np.sqrt(len(given))
    clear = len(given) > 1 and difference.mean() > SIGNIFICANT * spread
    if not clear or after.mean() > GAIN * before.mean():
        return ""
    return (
        "the images seem to be transposed, as in the files of EMNIST: with rows and "
        f"columns exchanged, the MSE would be {after.mean():.4f} instead of "
        f"{before.mean():.4f}"
    )


def first_names(names: Sequence[str], count: int) -> str:
    """The first names in a list of `count`, and how many more there are."""
    listed = ", ".join(names[:3])
    return listed if count <= 3 else f"{listed} and {count - 3:,} more"


def _errors(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Mean squared error of each image; float (N, 28, 28) in [0, 1]."""
    return np.square(images - reconstructions).mean(axis=(1, 2))


def _named(chosen: np.ndarray, names: Sequence[str] | None) -> str:
    """The subject of a sentence about the chosen images, with its verb."""
    count = int(chosen.sum())
    if len(chosen) == 1:
        return f"{names[0] if names else 'the image'} has"
    first = np.flatnonzero(chosen)[:3].tolist()
    listed = [names[index] if names else str(index) for index in first]
    which = "" if names else "index "
    which += first_names(listed, count)
    verb = "has" if count == 1 else "have"
    return f"{count:,} of {len(chosen):,} images ({which}) {verb}"
