"""How fast the batched metrics are, compared with a library's loop over the images.

Run it in the book's environment: ``python benchmarks/metrics.py``. Both sides measure
the same 10,000 pairs in one thread. Times are processor time, which other work on the
machine affects least.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from measuring import least, parser, pin, save
from scipy import ndimage
from sewar import full_ref
from skimage.metrics import structural_similarity

from caebook.evaluation import metrics
from caebook.images import to_uint8

COUNT = 10_000
REPEATS = 5
TARGET = 10  # the UQI should be this many times as fast as sewar's loop
NOTE = f"""\
The metrics of `caebook.evaluation`, which take all images at once, and a loop over the
images with the functions of sewar and scikit-image. One thread. The aim for the UQI is
a ratio of {TARGET}. sewar's UQI is another index, which `metrics.uqi_sewar`
computes."""


def stroke_images(count: int, seed: int) -> np.ndarray:
    """Draw uint8 blobs on black, four pixels in five black, as handwriting has them."""
    noise = np.random.default_rng(seed).normal(size=(count, 28, 28))
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    above = smooth - np.quantile(smooth, 0.8)
    return to_uint8(above / above.max() * 3)


def skimage_ssim(reference: np.ndarray, test: np.ndarray) -> float:
    return structural_similarity(
        reference,
        test,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


def main() -> int:
    chosen = parser(__doc__).parse_args()
    pin()
    count = 200 if chosen.quick else COUNT
    reference = stroke_images(count, 0)
    blurred = ndimage.gaussian_filter(reference / 255, (0, 0.7, 0.7))
    test = to_uint8(blurred)

    def loop(measure: Callable[[np.ndarray, np.ndarray], float]) -> np.ndarray:
        return np.array([measure(x, y) for x, y in zip(reference, test, strict=True)])

    uqi, _ = least(lambda: metrics.uqi(reference, test), REPEATS)
    sewar, _ = least(lambda: loop(full_ref.uqi), 2)
    ssim, values = least(lambda: metrics.ssim(reference, test), REPEATS)
    skimage, skimage_values = least(lambda: loop(skimage_ssim), 1)
    if (apart := np.abs(values - skimage_values).max()) > 1e-6:
        raise SystemExit(f"ssim: the values are {apart:.0e} apart")
    floats = blurred.astype(np.float32)
    whole, _ = least(lambda: metrics.score(reference, floats), 1)
    rows = [
        {"metric": "UQI", "caebook": uqi, "loop": sewar, "ratio": sewar / uqi},
        {"metric": "SSIM", "caebook": ssim, "loop": skimage, "ratio": skimage / ssim},
        {"metric": "all that a run records", "caebook": whole},
    ]
    tables = {f"seconds for {count:,} pairs of images": rows}
    save(chosen.output, "metrics", "Metrics", NOTE, tables)
    if uqi * TARGET > sewar and not chosen.quick:
        print(f"NOT MET: the UQI is to be {TARGET} times as fast as sewar's loop")
    return 0


if __name__ == "__main__":
    sys.exit(main())
