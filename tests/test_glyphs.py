"""The stand-in: deterministic, balanced, framed like MNIST, and not too easy."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from caebook.data import glyphs


@pytest.fixture(scope="module")
def digits():
    return glyphs.draw("digits", seed=0, train=1500, test=500)


@pytest.fixture(scope="module")
def letters():
    return glyphs.draw("letters", seed=0, train=600, test=104)


def digest(arrays):
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def linear_accuracy(train_images, train_labels, test_images, test_labels):
    """Accuracy of ridge regression on the pixels, one target per class."""

    def design(images):
        pixels = images.reshape(len(images), -1) / 255.0
        return np.hstack([pixels, np.ones((len(images), 1))])

    inputs = design(train_images)
    targets = np.eye(int(train_labels.max()) + 1)[train_labels]
    gram = inputs.T @ inputs + 30.0 * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ targets)
    return float(np.mean((design(test_images) @ weights).argmax(1) == test_labels))


@pytest.mark.parametrize("kind, classes", [("digits", 10), ("letters", 26)])
def test_shapes_types_and_balance(kind, classes, request):
    train_images, train_labels, test_images, test_labels = request.getfixturevalue(kind)
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        assert images.shape == (len(labels), 28, 28)
        assert images.dtype == labels.dtype == np.uint8
        counts = np.bincount(labels, minlength=classes)
        assert len(counts) == classes
        assert counts.max() - counts.min() <= 1
        # shuffled: a file sorted by class has `classes` runs, this has far more
        assert np.count_nonzero(np.diff(labels.astype(int))) > len(labels) // 2


@pytest.mark.parametrize("kind", ["digits", "letters"])
def test_framing_is_that_of_mnist(kind, request):
    images = request.getfixturevalue(kind)[0]
    rows, columns = images.any(2), images.any(1)

    def extent(inked):
        return 28 - inked[:, ::-1].argmax(1) - inked.argmax(1)

    assert np.all(np.maximum(extent(rows), extent(columns)) == 20)
    weight = images.astype(float)
    mass, axis = weight.sum((1, 2)), np.arange(28)
    for centre in (weight.sum(2) @ axis / mass, weight.sum(1) @ axis / mass):
        # nearest whole-pixel shift; a few lopsided glyphs stop at the edge
        assert np.mean(np.abs(centre - 14) <= 0.5) > 0.99
        assert np.all(np.abs(centre - 14) < 3)


def test_pixel_statistics_resemble_mnist(digits):
    images = digits[0]
    # MNIST: 80.9 % zeros, mean 33.3, most images reach full black somewhere
    assert 0.75 < np.mean(images == 0) < 0.85
    assert 28 < images.mean() < 39
    assert np.mean(images.max((1, 2)) >= 250) > 0.9
    grey = np.mean((images > 0) & (images < 250)) / np.mean(images > 0)
    assert grey > 0.3  # anti-aliased


def test_same_seed_same_bytes_whatever_the_process_and_the_threads():
    arguments = "'digits', seed=3, train=600, test=20"
    here = digest(glyphs.draw("digits", seed=3, train=600, test=20, threads=4))
    code = (
        "import hashlib; from caebook.data import glyphs;"
        f"arrays = glyphs.draw({arguments}, threads=1);"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in arrays)).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


def test_another_seed_draws_other_images():
    one, other = (glyphs.draw("digits", seed, train=60, test=20)[0] for seed in (1, 2))
    assert not {i.tobytes() for i in one} & {i.tobytes() for i in other}


@pytest.mark.parametrize("kind", ["digits", "letters"])
def test_no_image_occurs_twice(kind, request):
    train_images, _, test_images, _ = request.getfixturevalue(kind)
    both = [image.tobytes() for image in (*train_images, *test_images)]
    assert len(set(both)) == len(both)


def test_a_repeated_image_is_noticed(monkeypatch):
    def all_alike(prototypes, labels, rng):
        return np.ones((len(labels), 28, 28), np.uint8)

    monkeypatch.setattr(glyphs, "_draw_chunk", all_alike)
    with pytest.raises(RuntimeError, match="twice"):
        glyphs.draw("digits", train=10, test=10)


def test_a_linear_classifier_learns_it_but_not_perfectly(digits):
    accuracy = linear_accuracy(*digits)
    assert 0.6 < accuracy < 0.95


def test_letters_mix_upper_and_lower_case():
    characters = glyphs._characters("letters")
    assert len(characters) == 52
    assert [name for index, name in characters if index == 0] == ["A", "a"]


def test_every_font_has_every_character():
    """A missing glyph would be drawn as the same box, whatever the character."""
    prototypes = glyphs._prototypes("letters")
    assert len(prototypes.outline) == 52 * len(glyphs.FONTS)
    per_font = prototypes.outline.reshape(len(glyphs.FONTS), 52, -1)
    for font, outlines in zip(glyphs.FONTS, per_font, strict=True):
        assert len({outline.tobytes() for outline in outlines}) > 50, font


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "runes"},
        {"kind": "digits", "seed": -1},
        {"kind": "digits", "train": 0},
        {"kind": "digits", "test": 0},
    ],
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError):
        glyphs.draw(**arguments)
