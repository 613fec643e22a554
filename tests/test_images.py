"""Images as arrays: scaling, decoding to grey levels, checks, and parts of a stack."""

import tracemalloc
import weakref

import numpy as np
import pytest

from caebook.images import (
    check_floats,
    check_images,
    in_batches,
    slices,
    to_float,
    to_uint8,
)

LEVELS = np.arange(256, dtype=np.uint8)


def test_to_float_scales_white_to_one():
    floats = to_float(np.array([[0, 51, 255]], np.uint8))
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, np.array([[0, 0.2, 1]], np.float32))


def test_to_uint8_rounds_and_clips():
    floats = np.array([-0.5, 0, 0.4 / 255, 0.6 / 255, 100.4 / 255, 254.6 / 255, 1, 7])
    levels = to_uint8(floats.astype(np.float32))
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels, [0, 0, 0, 1, 100, 255, 255, 255])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_to_uint8_returns_every_grey_level(dtype):
    np.testing.assert_array_equal(to_uint8((LEVELS / 255).astype(dtype)), LEVELS)


def test_to_uint8_rounds_half_precision_exactly():
    floats = np.arange(0x3C01, dtype=np.uint16).view(np.float16)  # all of [0, 1]
    expected = np.rint(255 * floats.astype(np.float64))
    np.testing.assert_array_equal(to_uint8(floats), expected)


def test_to_uint8_keeps_shape_and_order_over_many_blocks():
    images = np.random.default_rng(0).integers(0, 256, (300, 28, 28), np.uint8)
    np.testing.assert_array_equal(to_uint8(to_float(images)), images)
    np.testing.assert_array_equal(to_uint8(to_float(images)[::-2]), images[::-2])


def test_to_uint8_needs_little_memory():
    floats = np.zeros((4000, 28, 28), np.float32)  # 12.5 MB; the result takes 3.1 MB
    tracemalloc.start()
    try:
        to_uint8(floats)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 9e6


@pytest.mark.parametrize("check", [to_uint8, lambda floats: check_floats(floats, "x")])
@pytest.mark.parametrize(
    ("floats", "error", "message"),
    [
        (np.zeros(3, np.uint8), TypeError, "floats in .* not uint8"),
        ([0.5], TypeError, "not list"),
        (np.array([0, np.nan]), ValueError, "NaN or infinite"),
        (np.array([0, np.inf]), ValueError, "NaN or infinite"),
    ],
)
def test_arrays_that_a_decoder_cannot_return_are_refused(check, floats, error, message):
    with pytest.raises(error, match=message):
        check(floats)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([[0]], TypeError, "must be a NumPy array, not list"),
        (np.zeros((2, 28, 28)), TypeError, "must be uint8 .* not float64"),
        (np.zeros((28, 28), np.uint8), TypeError, r".* not uint8 of shape \(28, 28\)"),
        (np.zeros((2, 27, 28), np.uint8), TypeError, r".* not uint8 of shape \(2, 27"),
        (np.zeros((0, 28, 28), np.uint8), ValueError, "must hold at least one"),
    ],
)
def test_arrays_that_are_not_images_are_refused(images, error, message):
    with pytest.raises(error, match=f"letters {message}"):
        check_images(images, "letters")


def test_images_are_accepted():
    check_images(np.zeros((1, 28, 28), np.uint8))


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
def test_slices_cover_a_stack_once_and_in_order(count):
    parts = [np.arange(count)[part] for part in slices(count)]
    assert [index for part in parts for index in part] == list(range(count))
    assert all(0 < len(part) <= 100 for part in parts)


@pytest.mark.parametrize("size", [1, 3, 7, 8])
def test_batches_give_what_the_whole_gives(size):
    values = np.arange(14, dtype=np.float32).reshape(7, 2)
    joined = in_batches(lambda batch: batch.sum(axis=1), values, size)
    assert joined.dtype == np.float32
    assert np.array_equal(joined, values.sum(axis=1))


def test_no_batch_is_kept_until_the_end():
    results = []

    def function(batch):
        alive = sum(result() is not None for result in results)
        assert alive <= 1  # the last one only
        result = batch + 1
        results.append(weakref.ref(result))
        return result

    in_batches(function, np.zeros((9, 2)), 2)
    assert len(results) == 5


def test_no_values_give_no_batches():
    with pytest.raises(ValueError, match="no values"):
        in_batches(np.copy, np.zeros((0, 2)), 5)
