"""How certain a mean over test images is."""

import numpy as np
from scipy import stats


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
