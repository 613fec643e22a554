"""Noise for images: what each kind does, and that it can be drawn again."""

import numpy as np
import pytest

from caebook.training.noise import (
    NOISES,
    add_noise,
    noisy_test_images,
    training_noise,
    validation_noise,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
GREY = np.full((200, 28, 28), 128, np.uint8)

each = pytest.mark.parametrize("noise", NOISES)


def add(images, noise, seed=0):
    return add_noise(images, noise, np.random.default_rng(seed))


@each
def test_noisy_images_are_images_and_can_be_drawn_again(noise):
    before = IMAGES.copy()
    noisy = add(IMAGES, noise)
    assert (noisy.dtype, noisy.shape) == (np.uint8, IMAGES.shape)
    assert (IMAGES == before).all() and (noisy != IMAGES).any(axis=(1, 2)).all()
    assert (noisy == add(IMAGES, noise)).all()
    assert (noisy == add(IMAGES, noise, seed=1)).all() == (noise == "blur")


@each
def test_the_first_test_images_get_the_same_noise_alone(noise):
    noisy = noisy_test_images(IMAGES, noise)
    assert (noisy[:7] == noisy_test_images(IMAGES[:7], noise)).all()


@pytest.mark.parametrize("level", [0.2, 0.4, 0.8])
def test_gaussian_noise_has_its_deviation_and_is_clipped(level):
    noisy = add(GREY, f"gaussian-{100 * level:.0f}") / 255
    normal = np.random.default_rng(1).normal(128 / 255, level, 1_000_000)
    assert noisy.std() == pytest.approx(normal.clip(0, 1).std(), rel=0.01)
    assert noisy.mean() == pytest.approx(normal.clip(0, 1).mean(), abs=0.005)


def test_salt_and_pepper_replace_a_tenth_each():
    values, counts = np.unique(add(GREY, "salt-pepper"), return_counts=True)
    assert values.tolist() == [0, 128, 255]
    assert counts / GREY.size == pytest.approx([0.1, 0.8, 0.1], abs=0.005)


def test_a_block_of_grey_lies_within_the_middle():
    blank = np.zeros((300, 28, 28), np.uint8)
    grey = add(blank, "block") == 128
    rows, columns = grey.any(axis=2), grey.any(axis=1)
    assert (rows.sum(axis=1) == 10).all() and (columns.sum(axis=1) == 10).all()
    assert (grey.sum(axis=(1, 2)) == 100).all()
    for side in (rows, columns):  # every place is taken, and none outside
        assert np.flatnonzero(side.any(axis=0)).tolist() == list(range(4, 24))


def test_blur_spreads_a_point_by_its_deviation():
    point = np.zeros((1, 28, 28), np.uint8)
    point[0, 14, 14] = 255
    wide = add(point, "blur")[0].astype(float)
    assert wide.sum() == pytest.approx(255, rel=0.05)
    offsets = np.arange(28) - 14
    variance = (wide.sum(axis=0) * offsets**2).sum() / wide.sum()
    assert variance**0.5 == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize("noise", ["snow", "gaussian-", "gaussian-30", ""])
def test_unknown_noise_is_refused(noise):
    with pytest.raises(ValueError, match=r"is not one of gaussian-20, .*blur"):
        add(IMAGES, noise)


def test_floats_are_refused():
    with pytest.raises(TypeError, match="uint8"):
        add(IMAGES / 255, "blur")


def test_training_noise_is_new_in_each_epoch_and_validation_noise_is_not():
    def drawn(seed, epoch):
        noisy = training_noise("gaussian-40", seed, epoch)
        return noisy(IMAGES[:20]), noisy(IMAGES[:20])

    first, second = drawn(0, 0)
    assert (first != second).any()  # within an epoch, each batch has its own
    assert all(map(np.array_equal, drawn(0, 0), (first, second)))
    others = [drawn(0, 1)[0], drawn(1, 0)[0], noisy_test_images(IMAGES, "gaussian-40")]
    held_out = [validation_noise("gaussian-40", 0)(IMAGES[:20]) for _ in range(2)]
    assert np.array_equal(*held_out)
    assert not any(np.array_equal(o[:20], first) for o in [*others, held_out[0]])
    assert training_noise(None, 0, 0)(IMAGES) is IMAGES
