"""The metrics, compared with their definitions, other libraries and known numbers."""

import importlib.metadata
import json
import math
import os
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sewar import full_ref
from skimage.metrics import structural_similarity

from caebook.data import glyphs
from caebook.evaluation import metrics, statistics
from caebook.evaluation.pca import PCA
from caebook.images import to_uint8

RNG = np.random.default_rng
every_measure = pytest.mark.parametrize(
    "measure",
    [metrics.mse, metrics.psnr, metrics.ssim, metrics.uqi, metrics.uqi_sewar],
    ids=lambda measure: measure.__name__,
)


def textured(count: int, seed: int = 0, size: int = 28) -> np.ndarray:
    """Draw noise images: no window of them is flat."""
    return RNG(seed).integers(0, 256, (count, size, size), dtype=np.uint8)


def digit_like(count: int, seed: int = 0) -> np.ndarray:
    """Draw bright noise on black: flat and black windows, and mixed ones."""
    images = textured(count, seed)
    images[:, :9] = 0
    images[:, :, 20:] = 0
    return images


def brute_force_uqi(x: np.ndarray, y: np.ndarray, window: int = 8) -> float:
    """Evaluate the definition window by window, in Python integers and fractions."""
    rows, columns = (side - window + 1 for side in x.shape)
    values = []
    for top in range(rows):
        for left in range(columns):
            part = np.s_[top : top + window, left : left + window]
            values.append(float(window_uqi(x[part], y[part])))
    return math.fsum(values) / len(values)


def window_uqi(x: np.ndarray, y: np.ndarray) -> Fraction:
    xs, ys = [int(v) for v in x.flat], [int(v) for v in y.flat]
    mean_x, mean_y = Fraction(sum(xs), len(xs)), Fraction(sum(ys), len(ys))
    variance_x = sum(v * v for v in xs) / Fraction(len(xs)) - mean_x**2
    variance_y = sum(v * v for v in ys) / Fraction(len(ys)) - mean_y**2
    products = sum(v * w for v, w in zip(xs, ys, strict=True))
    covariance = products / Fraction(len(xs)) - mean_x * mean_y
    quality = Fraction(1)
    if mean_x or mean_y:
        quality *= 2 * mean_x * mean_y / (mean_x**2 + mean_y**2)
    if variance_x or variance_y:
        quality *= 2 * covariance / (variance_x + variance_y)
    return quality


@st.composite
def image_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two images of one small size: noise, flat, black, extreme or nearly flat."""
    shape = draw(st.tuples(st.integers(8, 12), st.integers(8, 12)))
    levels = st.sampled_from(
        [
            st.integers(0, 255),
            st.sampled_from([0, 255]),
            st.sampled_from([254, 255]),
            st.just(0),
            st.just(255),
        ]
    )

    def image() -> np.ndarray:
        if draw(st.booleans()):
            fill = draw(st.integers(0, 255))
            flat = np.full(shape, fill, np.uint8)
            for _ in range(draw(st.integers(0, 2))):  # nearly flat: a few odd pixels
                flat[draw(st.integers(0, 7)), draw(st.integers(0, 7))] = draw(
                    st.integers(0, 255)
                )
            return flat
        return draw(hnp.arrays(np.uint8, shape, elements=draw(levels)))

    return image(), image()


# --- UQI ----------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(image_pairs())
def test_uqi_is_the_definition_on_any_images(pair):
    x, y = pair
    value = metrics.uqi(x, y)
    assert value == pytest.approx(brute_force_uqi(x, y), abs=1e-12)
    assert abs(value) <= 1
    assert value == metrics.uqi(y, x)
    assert metrics.uqi(x, x) == 1
    batch = metrics.uqi(np.stack([x, y, x]), np.stack([y, y, x]))
    assert batch.tolist() == [value, 1, 1]


def flat(level: int) -> np.ndarray:
    return np.full((28, 28), level, np.uint8)


def checks(low: int, high: int) -> np.ndarray:
    return np.where(np.indices((28, 28)).sum(axis=0) % 2, low, high).astype(np.uint8)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (textured(1, 0)[0], textured(1, 1)[0]),
        (digit_like(1, 0)[0], digit_like(1, 1)[0]),
        (digit_like(1, 0)[0], flat(0)),
        (checks(0, 255), checks(255, 0)),  # the largest sums and covariances
        (flat(255), checks(254, 255)),
        (flat(255), flat(254)),
    ],
)
def test_uqi_is_the_definition_on_full_sized_images(x, y):
    assert metrics.uqi(x, y) == pytest.approx(brute_force_uqi(x, y), abs=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (flat(0), flat(0), 1.0),
        (flat(255), flat(255), 1.0),
        (flat(100), flat(200), 0.8),
        (flat(0), flat(1), 0.0),
        (flat(128), textured(1)[0], 0.0),  # exactly one of the two is flat
        (checks(0, 255), checks(255, 0), -1.0),
    ],
)
def test_uqi_of_flat_and_opposite_images(x, y, expected):
    assert metrics.uqi(x, y) == pytest.approx(expected, abs=1e-15)


def test_the_definition_used_here_is_scikit_images_without_its_constants():
    # scikit-image allows odd windows only, so this checks the brute force itself.
    for x, y in zip(textured(3, 0, 14), textured(3, 1, 14), strict=True):
        theirs = structural_similarity(
            x, y, win_size=7, data_range=255, K1=0, K2=0, use_sample_covariance=False
        )
        assert brute_force_uqi(x, y, window=7) == pytest.approx(theirs, abs=1e-12)


# --- sewar's UQI: deviations of version 0.4.10, pinned ------------------------------


def test_sewar_is_the_version_that_the_book_describes():
    assert importlib.metadata.version("sewar") == "0.4.10", (
        "another version of sewar: check what the docstring of uqi_sewar and the "
        "chapter on UQI say about version 0.4.10, then change the version here"
    )


def test_sewar_0_4_10_calls_unrelated_noise_nearly_perfect():
    noise = RNG(0).normal(128, 20, (2, 100, 28, 28))
    x, y = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    assert metrics.uqi_sewar(x, y).mean() == pytest.approx(0.975, abs=0.002)
    assert abs(metrics.uqi(x, y).mean()) < 0.01


def test_sewar_0_4_10_calls_a_negative_nearly_perfect():
    noise = RNG(0).normal(128, 20, (100, 28, 28))
    x = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    assert metrics.uqi_sewar(x, 255 - x).mean() == pytest.approx(0.950, abs=0.002)
    assert metrics.uqi(x, 255 - x).mean() < -0.99


def test_sewar_0_4_10_squares_the_luminance_of_flat_images():
    assert metrics.uqi_sewar(flat(100), flat(200)) == pytest.approx(0.64, abs=1e-12)
    assert metrics.uqi(flat(100), flat(200)) == pytest.approx(0.80, abs=1e-12)


def test_sewar_0_4_10_ignores_the_last_row_and_column():
    x = textured(1)[0]
    y = x.copy()
    y[27], y[:, 27] = 255 - y[27], 255 - y[:, 27]
    assert metrics.uqi_sewar(x, y) == pytest.approx(1, abs=1e-12)
    assert metrics.uqi(x, y) < 0.999


def test_sewar_0_4_10_takes_means_for_sums_in_20_by_20_windows():
    """Of 21 × 21: with means, the covariance becomes σxy + (1 − 1/64)·x̄·ȳ."""

    def window(a: np.ndarray, b: np.ndarray) -> float:
        part = (1 - 1 / 64) * np.outer((a.mean(), b.mean()), (a.mean(), b.mean()))
        covariances = np.cov(a.ravel(), b.ravel(), bias=True) + part
        luminance = 2 * a.mean() * b.mean() / (a.mean() ** 2 + b.mean() ** 2)
        return luminance * 2 * covariances[0, 1] / covariances.trace()

    x, y = textured(2)
    windows = [np.s_[i : i + 8, j : j + 8] for i in range(20) for j in range(20)]
    expected = np.mean([window(x[part], y[part]) for part in windows])
    assert metrics.uqi_sewar(x, y) == pytest.approx(expected, abs=1e-12)


def test_sewar_0_4_10_takes_a_stack_of_images_for_channels():
    x, y = digit_like(30, 0), digit_like(30, 1)
    columns = [full_ref.uqi(x[:, :, i], y[:, :, i]) for i in range(28)]
    assert full_ref.uqi(x, y) == pytest.approx(np.mean(columns), abs=1e-12)
    assert abs(full_ref.uqi(x, y) - metrics.uqi_sewar(x, y).mean()) > 0.01


def test_sewar_0_4_10_only_warns_of_grey_levels_against_fractions():
    x = textured(1)[0]
    with pytest.warns(UserWarning, match="different dtypes"):
        value = full_ref.uqi(x, x / 255)
    assert value < 0.1  # although both are the same image
    with pytest.raises(TypeError, match="to_uint8"):
        metrics.uqi_sewar(x, x / 255)


def test_sewar_0_4_10_leaves_its_range_on_floats_but_not_on_grey_levels():
    """Running sums of floats leave rounding errors, which black windows divide."""
    pairs = np.zeros((200, 2, 28, 28))
    pairs[:, :, 4:20, 6:18] = RNG(0).random((200, 2, 16, 12))
    worst = max(abs(full_ref.uqi(x, y)) for x, y in pairs)
    assert worst > 1e12
    levels = to_uint8(pairs)
    assert np.abs(metrics.uqi_sewar(levels[:, 0], levels[:, 1])).max() <= 1


def test_sewar_is_called_once_for_each_image():
    x, y = digit_like(150, 0), digit_like(150, 1)
    expected = [full_ref.uqi(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_array_equal(metrics.uqi_sewar(x, y), expected)


# --- SSIM, MSE, PSNR ----------------------------------------------------------------


@pytest.mark.parametrize("draw", [textured, digit_like])
def test_ssim_is_scikit_images_with_the_authors_settings(draw):
    x = draw(200, 0)
    y = draw(200, 1)
    x[0], x[1], y[1] = 0, 255, 255
    expected = [
        structural_similarity(
            a,
            b,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(metrics.ssim(x, y), expected, rtol=0, atol=1e-12)


def test_mse_and_psnr_of_known_images():
    black, white, grey = flat(0), flat(255), flat(51)
    assert metrics.mse(black, white) == 1
    assert metrics.psnr(black, white) == 0
    assert metrics.mse(black, grey) == pytest.approx(0.04)
    assert metrics.psnr(black, grey) == pytest.approx(10 * math.log10(25))
    assert metrics.psnr(grey, grey) == math.inf


def test_mse_is_the_mean_of_squared_differences():
    x, y = textured(300, 0), textured(300, 1)
    expected = ((x / 255 - y / 255) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(metrics.mse(x, y), expected, rtol=1e-12)


def test_psnr_of_mse_takes_one_or_many():
    assert metrics.psnr_of_mse(0.01) == pytest.approx(20)
    np.testing.assert_allclose(
        metrics.psnr_of_mse(np.array([1, 0.001, 0])), [0, 30, np.inf]
    )


@pytest.mark.parametrize("error", [-1e-9, math.nan])
def test_psnr_of_an_impossible_mse(error):
    with pytest.raises(ValueError, match="never negative"):
        metrics.psnr_of_mse(error)


# --- BCE and entropy ----------------------------------------------------------------


def test_bce_is_the_mean_over_pixels_in_nats():
    x = textured(140)
    q = RNG(1).uniform(0.01, 0.99, x.shape).astype(np.float32)
    p, r = x / 255, q.astype(np.float64)
    expected = -(p * np.log(r) + (1 - p) * np.log(1 - r)).mean(axis=(1, 2))
    np.testing.assert_allclose(metrics.bce(x, q), expected, rtol=1e-12)


def test_bce_clips_certain_predictions():
    ones = np.ones((28, 28), np.float32)
    assert metrics.bce(flat(0), ones) == pytest.approx(-math.log(1e-7), rel=1e-9)
    assert metrics.bce(flat(255), 0 * ones) == pytest.approx(-math.log(1e-7), rel=1e-9)
    assert 0 < metrics.bce(flat(255), ones) < 2e-7


def test_bce_of_a_perfect_reconstruction_is_the_pixel_entropy_and_the_least():
    x = digit_like(5)
    perfect = metrics.bce(x, x / 255)
    np.testing.assert_allclose(perfect, metrics.pixel_entropy(x), atol=2e-7)
    worse = np.clip(x / 255 + RNG(0).normal(0, 0.01, x.shape), 0, 1)
    assert (metrics.bce(x, worse) > perfect).all()


def test_pixel_entropy_of_known_levels():
    assert metrics.pixel_entropy(flat(0)) == 0
    assert metrics.pixel_entropy(flat(255)) == 0
    p = 51 / 255
    expected = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert metrics.pixel_entropy(flat(51)) == pytest.approx(expected, rel=1e-12)
    assert metrics.pixel_entropy(flat(204)) == pytest.approx(expected, rel=1e-12)


# --- score --------------------------------------------------------------------------


def test_score_holds_the_means_of_the_measures():
    images = digit_like(140)
    noise = RNG(1).normal(0, 0.1, images.shape)
    floats = (images / 255 + noise).astype(np.float32)  # leaves [0, 1] in places
    assert floats.min() < 0 and floats.max() > 1
    decoded = np.rint(255 * np.clip(floats, 0, 1)).astype(np.uint8)
    assert metrics.score(images, floats) == {
        "images": 140,
        "bce": metrics.bce(images, np.clip(floats, 0, 1)).mean(),
        "mse": metrics.mse(images, decoded).mean(),
        "psnr": metrics.psnr_of_mse(metrics.mse(images, decoded).mean()),
        "ssim": metrics.ssim(images, decoded).mean(),
        "uqi": metrics.uqi(images, decoded).mean(),
        "uqi_sewar": metrics.uqi_sewar(images, decoded).mean(),
    }


def test_psnr_of_a_set_is_not_the_mean_of_its_psnrs():
    images = np.stack([flat(0), flat(0)])
    floats = np.stack([flat(0), flat(255)]).astype(np.float32)
    assert metrics.score(images, floats)["psnr"] == pytest.approx(10 * math.log10(2))


def test_score_holds_plain_numbers():
    images = textured(2)
    scores = metrics.score(images, np.zeros(images.shape, np.float32))
    assert {type(value) for value in scores.values()} == {int, float}
    assert json.loads(json.dumps(scores)) == scores


# --- one image and many, memory -----------------------------------------------------


@every_measure
@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
def test_each_value_belongs_to_its_image(measure, count):
    x, y = digit_like(count, 0), digit_like(count, 1)
    values = measure(x, y)
    assert values.shape == (count,) and values.dtype == np.float64
    for index in {0, count // 2, count - 1}:
        one = measure(x[index], y[index])
        assert np.ndim(one) == 0
        assert one == values[index]


@every_measure
def test_strided_views_are_measured_and_left_unchanged(measure):
    x, y = digit_like(20, 0), digit_like(20, 1)
    kept = x.copy()
    view = np.asfortranarray(x)[::-1]
    np.testing.assert_array_equal(measure(view, y[::-1]), measure(x, y)[::-1])
    np.testing.assert_array_equal(x, kept)


def peak_memory(work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_images():
    images = np.zeros((4000, 28, 28), np.uint8)
    floats = np.zeros(images.shape, np.float32)
    # What all images would take as float64, just once: 25 MB.
    for work in (
        lambda: metrics.uqi(images, images),
        lambda: metrics.ssim(images, images),
        lambda: metrics.mse(images, images),
        lambda: metrics.pixel_entropy(images),
        lambda: metrics.bce(images, floats),
        lambda: statistics.bootstrap_interval(np.arange(4000.0)),
    ):
        assert peak_memory(work) < 15e6


# --- bootstrap ----------------------------------------------------------------------


def test_bootstrap_interval_is_the_normal_one_for_many_values():
    values = RNG(0).normal(5, 2, 5000)
    low, high = statistics.bootstrap_interval(values)
    error = values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_bootstrap_interval_follows_seed_and_level():
    values = RNG(0).normal(size=500)
    assert statistics.bootstrap_interval(values) == statistics.bootstrap_interval(
        values
    )
    assert statistics.bootstrap_interval(values) != statistics.bootstrap_interval(
        values, seed=1
    )
    low, high = statistics.bootstrap_interval(values, level=0.5)
    wide_low, wide_high = statistics.bootstrap_interval(values, level=0.99)
    assert wide_low < low < high < wide_high


def test_bootstrap_interval_of_equal_values_is_a_point():
    assert statistics.bootstrap_interval(np.full(10, 0.25)) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0], {}, "at least two"),
        (np.ones((2, 2)), {}, "one value per image"),
        ([1.0, math.inf], {}, "bootstrap the MSE"),
        ([1.0, 2.0], {"level": 95}, "0.95"),
        ([1.0, 2.0], {"resamples": 0}, "at least one"),
    ],
)
def test_bootstrap_interval_refuses_invalid_arguments(values, options, message):
    with pytest.raises(ValueError, match=message):
        statistics.bootstrap_interval(values, **options)


def test_two_way_interval_adds_the_variation_of_rows_and_columns():
    rows, columns = RNG(0).normal(size=(40, 1)), RNG(1).normal(0, 2, (1, 900))
    values = rows + columns
    low, high = statistics.two_way_interval(values)
    error = math.sqrt(rows.var() / 40 + columns.var() / 900)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_two_way_interval_of_one_row_is_that_of_its_values():
    values = RNG(0).normal(5, 2, 2000)
    two_way = statistics.two_way_interval(values[None])
    assert two_way == pytest.approx(statistics.bootstrap_interval(values), abs=0.01)


def test_two_way_interval_follows_seed_and_level():
    values = RNG(0).normal(size=(5, 300))
    interval = statistics.two_way_interval(values)
    assert interval == statistics.two_way_interval(values)
    assert interval != statistics.two_way_interval(values, seed=1)
    low, high = statistics.two_way_interval(values, level=0.5)
    assert interval[0] < low < values.mean() < high < interval[1]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.ones(5), {}, "matrix"),
        (np.ones((5, 1)), {}, "two columns"),
        (np.array([[1.0, math.nan]]), {}, "NaN"),
        (np.ones((2, 2)), {"level": 95}, "0.95"),
        (np.ones((2, 2)), {"resamples": 0}, "at least one"),
    ],
)
def test_two_way_interval_refuses_invalid_arguments(values, options, message):
    with pytest.raises(ValueError, match=message):
        statistics.two_way_interval(values, **options)


# --- invalid arguments ---------------------------------------------------------------


@every_measure
def test_floats_are_refused_and_the_remedy_is_named(measure):
    images = textured(2)
    with pytest.raises(TypeError, match=r"test: .*float32.*to_uint8"):
        measure(images, (images / 255).astype(np.float32))
    with pytest.raises(TypeError, match=r"reference: .*float64.*to_uint8"):
        measure(images / 255, images)


@every_measure
@pytest.mark.parametrize(
    ("first", "second", "error", "message"),
    [
        ((2, 28, 28), (3, 28, 28), ValueError, "must be equal"),
        ((2, 28, 28), (28, 28), ValueError, "must be equal"),
        ((2, 28, 28, 1), (2, 28, 28, 1), ValueError, r"reference\[\.\.\., 0\]"),
        ((2, 1, 28, 28), (2, 1, 28, 28), ValueError, r"reference\[:, 0\]"),
        ((784,), (784,), ValueError, "neither"),
        ((0, 28, 28), (0, 28, 28), ValueError, "no pixels"),
    ],
)
def test_wrong_shapes_are_refused(measure, first, second, error, message):
    with pytest.raises(error, match=message):
        measure(np.zeros(first, np.uint8), np.zeros(second, np.uint8))


@every_measure
def test_other_integers_and_lists_are_refused(measure):
    images = textured(2)
    with pytest.raises(TypeError, match=r"int64.*astype"):
        measure(images.astype(np.int64), images)
    with pytest.raises(TypeError, match="not list"):
        measure(images, images.tolist())


@pytest.mark.parametrize(
    ("measure", "side"),
    [(metrics.uqi, 8), (metrics.uqi_sewar, 9), (metrics.ssim, 11)],
)
def test_images_smaller_than_the_window_are_refused(measure, side):
    small = textured(1, size=side)
    assert measure(small, small) == pytest.approx(1)
    smaller = small[:, 1:]
    with pytest.raises(ValueError, match=f"{side}×{side}"):
        measure(smaller, smaller)


@pytest.mark.parametrize(
    ("floats", "error", "message"),
    [
        (np.zeros((2, 28, 28), np.uint8), TypeError, "not uint8"),
        (np.full((2, 28, 28), np.nan, np.float32), ValueError, "NaN"),
        (np.full((2, 28, 28), np.inf, np.float32), ValueError, "infinite"),
        (np.zeros((2, 28, 28, 1), np.float32), ValueError, r"floats\[\.\.\., 0\]"),
        (np.zeros((1, 28, 28), np.float32), ValueError, "must be equal"),
        ([[0.5]], TypeError, "not list"),
    ],
)
@pytest.mark.parametrize("measure", [metrics.bce, metrics.score])
def test_bad_predictions_are_refused(measure, floats, error, message):
    with pytest.raises(error, match=message):
        measure(textured(2), floats)


@pytest.mark.parametrize("level", [-0.01, 1.01, 255])
def test_bce_refuses_predictions_outside_0_and_1(level):
    images = textured(2)
    floats = np.full(images.shape, 0.5, np.float32)
    floats[1, 3, 3] = level
    with pytest.raises(ValueError, match=r"np\.clip"):
        metrics.bce(images, floats)


def test_score_refuses_a_single_image():
    with pytest.raises(ValueError, match=r"images\[None\]"):
        metrics.score(textured(1)[0], np.zeros((28, 28), np.float32))


# --- imports ------------------------------------------------------------------------


def test_metrics_import_no_slow_library():
    """The codec's command, which measures nothing, starts without them."""
    program = (
        "import sys, caebook.files, caebook.images, caebook.evaluation.metrics\n"
        "slow = {'scipy', 'sewar', 'skimage', 'matplotlib'} & sys.modules.keys()\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- known numbers of the real MNIST ------------------------------------------------


@pytest.fixture(scope="module")
def mnist():
    folder = os.environ.get("CAEBOOK_DATA", "")
    if not (folder and (Path(folder) / "mnist").is_dir()):
        pytest.skip("real MNIST needed: set CAEBOOK_DATA")
    from caebook import data

    return data.load("mnist")


def test_pixel_entropy_of_mnist(mnist):
    test, train = mnist.test_images, mnist.train_images
    assert metrics.pixel_entropy(test).mean() == pytest.approx(0.05808, abs=5e-6)
    assert metrics.pixel_entropy(train).mean() == pytest.approx(0.05836, abs=5e-6)


def test_principal_components_of_mnist(mnist):
    # 49 components fitted to the training images: the first half of the test set is
    # the harder one by the textbook index.
    train = mnist.train_images.reshape(-1, 784)
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    second_moment = np.zeros((784, 784), np.float32)
    for start in range(0, len(train), 10_000):
        part = train[start : start + 10_000] - mean
        second_moment += part.T @ part
    axes = np.linalg.eigh(second_moment.astype(np.float64))[1][:, -49:].astype("f4")
    test = mnist.test_images.reshape(-1, 784) - mean
    floats = ((test @ axes @ axes.T + mean) / 255).reshape(-1, 28, 28)
    quality = metrics.uqi(mnist.test_images, to_uint8(floats))
    assert quality[:5000].mean() == pytest.approx(0.718, abs=1e-3)
    assert quality[5000:].mean() == pytest.approx(0.763, abs=1e-3)


# ---- PCA --------------------------------------------------------------------------


def test_pca_is_the_best_linear_code():
    images = glyphs.draw("digits", seed=1, train=900, test=10)[0]
    pixels = images.reshape(-1, 784) / 255
    pca = PCA(images)
    sizes = np.linalg.svd(pixels - pixels.mean(axis=0), compute_uv=False)
    for numbers in (1, 16, 200):
        best = np.sum(sizes[numbers:] ** 2) / pixels.size
        decoded = pca.decode(pca.encode(images, numbers)).reshape(-1, 784)
        assert np.mean((decoded - pixels) ** 2) == pytest.approx(best, rel=1e-3)
        assert pca.encode(images, numbers).shape == (900, numbers)
    assert np.abs(pca.reconstruct(images, 784).astype(int) - images).max() <= 1
    with pytest.raises(ValueError, match="1 to 784"):
        pca.encode(images, 0)


# --- factors ------------------------------------------------------------------------


def test_factor_between_trainings_with_its_interval():
    # By hand: the logarithms are 0, ln 2, ln 4; t of two degrees of freedom is 4.303.
    factor = statistics.factor([1, np.nan, 2, 4])
    margin = 4.3027 * math.log(2) / math.sqrt(3)
    assert factor.count == 3
    assert factor.mean == pytest.approx(2)
    assert factor.low == pytest.approx(2 * math.exp(-margin), rel=1e-4)
    assert factor.high == pytest.approx(2 * math.exp(margin), rel=1e-4)
    assert str(factor) == "× 2.00 (0.357 to 11.2)"


@pytest.mark.parametrize(
    ("ratios", "text", "effect"),
    [
        ([2, 2.1, 2.2], "× 2.10 (1.86 to 2.36)", "raises"),
        ([0.5, 0.48, 0.45], "× 0.476 (0.417 to 0.543)", "lowers"),
        ([0.9, 1.2], "× 1.04 (0.167 to 6.46)", "undecided"),
        ([3], "× 3.00", "undecided"),
        ([np.nan], "–", "undecided"),
        ([], "–", "undecided"),
    ],
)
def test_what_a_factor_says(ratios, text, effect):
    factor = statistics.factor(ratios)
    assert (str(factor), factor.effect) == (text, effect)


def test_impossible_ratios_are_refused():
    for ratios in ([1, 0], [1, -2], [np.inf]):
        with pytest.raises(ValueError, match="positive and finite"):
            statistics.factor(ratios)
    with pytest.raises(ValueError, match="level"):
        statistics.factor([1, 2], level=95)
