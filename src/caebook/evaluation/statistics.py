"""How certain a mean over test images is, or a factor between repeated trainings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from caebook.images import slices


@dataclass(frozen=True)
class Factor:
    """A factor with its confidence interval; printed as ``× 4.11 (3.44 to 4.91)``.

    Attributes
    ----------
    mean : geometric mean of the ratios; NaN if there is none
    low, high : ends of the interval; NaN unless there are two ratios or more
    count : how many ratios there are
    """

    mean: float
    low: float
    high: float
    count: int

    @property
    def effect(self) -> str:
        """``"raises"`` or ``"lowers"`` if the interval excludes 1; ``"undecided"``."""
        if self.low > 1:
            return "raises"
        return "lowers" if self.high < 1 else "undecided"

    @property
    def text(self) -> str:
        """The factor and its interval, to put into a sentence."""
        if self.count == 0:
            return "–"
        mean, *ends = (
            f"{value:#.3g}".rstrip(".") for value in (self.mean, self.low, self.high)
        )
        return f"{mean} ({' to '.join(ends)})" if self.count > 1 else mean

    def __str__(self) -> str:
        return f"× {self.text}" if self.count else "–"


def factor(ratios: Sequence[float], level: float = 0.95) -> Factor:
    """The factor by which an error changes, from one ratio of errors for each seed.

    The geometric mean of the ratios. Its interval is Student's for the mean of their
    logarithms, m ± t · s / √n, undone: it covers what chance does in a training, and
    takes the seeds as a sample of all seeds [1]_.

    Parameters
    ----------
    ratios
        Positive; NaN where a training is missing.
    level
        Coverage, strictly between 0 and 1.

    Raises
    ------
    ValueError
        If a ratio is not positive and finite, or `level` is out of range.

    References
    ----------
    .. [1] Student, "The probable error of a mean", Biometrika 6 (1908), 1–25.
    """
    _check_level(level)
    ratios = np.asarray(ratios, np.float64)
    ratios = ratios[~np.isnan(ratios)]
    if not (np.isfinite(ratios) & (ratios > 0)).all():
        raise ValueError(f"ratios: {ratios} are not all positive and finite")
    count = len(ratios)
    if count == 0:
        return Factor(np.nan, np.nan, np.nan, 0)
    logs = np.log(ratios)
    mean, margin = logs.mean(), np.nan
    if count > 1:
        t = stats.t.ppf((1 + level) / 2, count - 1)
        margin = t * logs.std(ddof=1) / np.sqrt(count)
    low, middle, high = np.exp([mean - margin, mean, mean + margin])
    return Factor(float(middle), float(low), float(high), count)


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval for the mean of per-image values.

    Estimates how far the mean would move with another draw of test images from the same
    source. It does not cover the variation between trainings.

    Parameters
    ----------
    values
        One finite value per image, ``(N,)`` with N at least 2.
    level
        Coverage, strictly between 0 and 1.
    resamples
        How many resampled means are drawn.
    seed
        Seed of the resampling: the same seed gives the same interval.

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
    _check_level(level)
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


def two_way_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval for the mean of a matrix whose rows and columns are drawn.

    Rows and columns are resampled independently of each other, the pigeonhole
    bootstrap [1]_. It answers how far the mean would move with other rows *and* other
    columns, say other labelled images (rows) and other test images (columns). The area
    under a ROC curve is such a mean too: over all pairs of a regular and an odd image,
    of whether the odd one scores higher. Of few rows or columns the interval is
    somewhat too narrow; a single row is kept as it is, so that only columns vary.

    Parameters
    ----------
    values
        Finite, ``(rows, columns)``, with at least two columns. For a paired comparison
        pass the differences.
    level
        Coverage, strictly between 0 and 1.
    resamples
        How many resampled means are drawn.
    seed
        Seed of the resampling: the same seed gives the same interval.

    Returns
    -------
    low, high : float
        In the unit of `values`.

    Raises
    ------
    ValueError
        If the shape is another, a value is not finite, or `level` or `resamples` is out
        of range.

    References
    ----------
    .. [1] A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1
       (2007), 386–411.
    """
    values = np.asarray(values, np.float32)
    if values.ndim != 2 or values.shape[0] < 1 or values.shape[1] < 2:
        raise ValueError(
            f"values: shape {values.shape}; a matrix of at least one row and two "
            "columns is needed"
        )
    if not np.isfinite(values).all():
        raise ValueError("values: some are NaN or infinite, so they have no mean")
    _check_level(level)
    if resamples < 1:
        raise ValueError(f"resamples: {resamples}; at least one is needed")
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for part in slices(resamples):
        by_row, by_column = (_weights(len(means[part]), n, rng) for n in values.shape)
        means[part] = ((by_row @ values) * by_column).sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _weights(resamples: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """How much each of `count` values weighs in a resample: (resamples, count)."""
    drawn = rng.integers(count, size=(resamples, count))
    drawn += count * np.arange(resamples)[:, None]  # numbers each resample's own values
    times = np.bincount(drawn.ravel(), minlength=resamples * count)
    return (times.reshape(resamples, count) / count).astype(np.float32)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level: {level} is not between 0 and 1; use 0.95 for 95 %")
