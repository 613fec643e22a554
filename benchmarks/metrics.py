"""How fast the batched metrics are, compared with a library's loop over the images.

Run it in the book's environment: ``python benchmarks/metrics.py``. Both sides measure
the same 10,000 pairs in one thread. Times are processor time, which other work on the
machine affects least.
"""

import os

# Before NumPy is imported: one thread each, or the comparison means nothing.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage
from sewar import full_ref
from skimage.metrics import structural_similarity

from caebook.evaluation import metrics
from caebook.images import to_uint8

COUNT = 10_000
REPEATS = 5
TARGET = 10  # the UQI should be this many times as fast as sewar's loop


def stroke_images(seed: int) -> np.ndarray:
    """Draw uint8 blobs on black, four pixels in five black, as handwriting has them."""
    noise = np.random.default_rng(seed).normal(size=(COUNT, 28, 28))
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
    above = smooth - np.quantile(smooth, 0.8)
    return to_uint8(above / above.max() * 3)


def seconds(work: Callable[[], np.ndarray], repeats: int) -> tuple[float, np.ndarray]:
    """Return the least processor time of `repeats` runs, and the result."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return min(times), result


def skimage_ssim(reference: np.ndarray, test: np.ndarray) -> float:
    return structural_similarity(
        reference,
        test,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


def main() -> None:
    reference = stroke_images(0)
    blurred = ndimage.gaussian_filter(reference / 255, (0, 0.7, 0.7))
    test = to_uint8(blurred)

    def loop(measure: Callable[[np.ndarray, np.ndarray], float]) -> np.ndarray:
        return np.array([measure(x, y) for x, y in zip(reference, test, strict=True)])

    print(f"{COUNT:,} pairs of 28×28 images, {(reference == 0).mean():.0%} black")
    ours, values = seconds(lambda: metrics.uqi(reference, test), REPEATS)
    theirs, sewar_values = seconds(lambda: loop(full_ref.uqi), 2)
    ratio = theirs / ours
    print(f"uqi   batched {ours:.3f} s, sewar's loop {theirs:.3f} s: {ratio:.1f} times")
    print(f"      means {values.mean():.4f} and {sewar_values.mean():.4f}: sewar's is")
    print("      another index, see caebook.evaluation.metrics.uqi_sewar")
    print(f"      target: {TARGET} times: {'met' if ratio >= TARGET else 'NOT MET'}")

    ours, values = seconds(lambda: metrics.ssim(reference, test), REPEATS)
    theirs, skimage_values = seconds(lambda: loop(skimage_ssim), 1)
    apart = np.abs(values - skimage_values).max()
    print(
        f"ssim  batched {ours:.3f} s, scikit-image's loop {theirs:.3f} s: "
        f"{theirs / ours:.1f} times; values {apart:.0e} apart"
    )

    floats = blurred.astype(np.float32)
    whole, _ = seconds(lambda: metrics.score(reference, floats), 1)
    print(f"score {whole:.3f} s, sewar's loop included")


if __name__ == "__main__":
    main()
