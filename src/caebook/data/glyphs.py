"""The stand-in data: digits and letters drawn from fonts, framed like MNIST.

Without a network and without MNIST's files, the book is computed on digits that this
module draws; its letters are always drawn here unless EMNIST is asked for. Every image
starts from a glyph of one of the text fonts that Matplotlib ships, and goes through

1. a *pen*: the stroke is a blend of the printed outline and of an even stroke of
   random width along the glyph's skeleton;
2. a random affine map (rotation, shear, aspect) and a smooth random displacement,
   the elastic distortion of [1]_;
3. MNIST's own framing [2]_: the longer side of the ink spans 20 pixels, anti-aliased,
   and whole-pixel shifts bring the centre of mass to pixel (14, 14), give or take
   half a pixel.

Training and test images come from the same fonts and the same distributions but from
separate random streams, and `draw` checks that no image occurs twice. Holding out
fonts instead would make the test set a different population from the training set,
which is a question of its own and not what a test score should measure here.

Images are drawn in chunks of fixed size, each with its own seed, so the bytes do not
depend on how many threads draw them. Whoever changes the bytes raises
`caebook.data.registry.DrawnData.version`.

References
----------
.. [1] P. Y. Simard, D. Steinkraus, J. C. Platt, "Best practices for convolutional
   neural networks applied to visual document analysis", ICDAR 2003.
.. [2] Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to
   document recognition", Proceedings of the IEEE 86(11), 1998.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt, map_coordinates
from skimage.morphology import skeletonize
from tqdm import tqdm

from caebook.data.registry import CLASSES, Kind
from caebook.images import SIDE

__all__ = ["CLASSES", "FONTS", "Kind", "draw"]

#: Matplotlib's text fonts. Its symbol fonts, the two DejaVu "Display" fonts and
#: "Last Resort" have no digits or letters, or not in their usual places.
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
    "cmb10",
    "cmr10",
    "cmss10",
    "cmti10",
    "cmtt10",
)

BOX = 20  # pixels, the longer side of the ink
CENTRE = 14  # pixel index of the centre of mass
CHUNK = 500  # images that share one seed

_CANVAS = 64  # the grid on which glyphs are stored and distorted
_GLYPH = 36  # longer side of an undistorted glyph on that grid
_FINE = 2  # samples per pixel and axis, averaged: this is the anti-aliasing
_COARSE = 12  # the elastic displacement is drawn on a grid this wide and smoothed


@dataclass(frozen=True)
class _Prototypes:
    """Undistorted glyphs as distance fields, in canvas units.

    `outline` is negative inside the printed glyph, 0 on its edge; `skeleton` is the
    distance to its centre lines. `members[c]` lists the rows that belong to class c.
    """

    outline: np.ndarray  # float32 (P, canvas, canvas)
    skeleton: np.ndarray  # float32 (P, canvas, canvas)
    members: tuple[np.ndarray, ...]


def draw(
    kind: Kind,
    seed: int = 0,
    train: int = 60_000,
    test: int = 10_000,
    *,
    threads: int | None = None,
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw a training and a test set of digits or letters.

    Parameters
    ----------
    kind : {"digits", "letters"}
        Ten digits, or 26 letters with upper and lower case in one class.
    seed : int, default 0
        Not negative. The same seed gives the same bytes, with the same versions of
        Matplotlib (fonts), Pillow, NumPy, SciPy and scikit-image.
    train, test : int
        How many images to draw for each set, at least 1.
    threads : int, optional
        How many threads draw; by default, as many as this process may use. The
        result does not depend on it.
    progress : bool, default False
        Show a progress bar on standard error.

    Returns
    -------
    train_images, train_labels, test_images, test_labels : ndarray of uint8
        Images (N, 28, 28), 0 (background) to 255; labels (N,), 0-based index into
        ``CLASSES[kind]``, balanced to within one image per class and shuffled.

    Raises
    ------
    ValueError
        If `kind` is unknown, `seed` negative, or `train` or `test` below 1.
    RuntimeError
        If two images are equal, so that the sets would not be disjoint.
    """
    if kind not in CLASSES:
        raise ValueError(f"kind must be 'digits' or 'letters', not {kind!r}")
    if seed < 0 or train < 1 or test < 1:
        raise ValueError(
            f"seed must not be negative, train and test at least 1; got {seed=}, "
            f"{train=}, {test=}"
        )
    prototypes = _prototypes(kind)
    labels = [
        _labels(kind, seed, split, count) for split, count in enumerate((train, test))
    ]
    jobs = [
        (split, start)
        for split, count in enumerate((train, test))
        for start in range(0, count, CHUNK)
    ]

    def chunk(job: tuple[int, int]) -> np.ndarray:
        split, start = job
        rng = np.random.default_rng([seed, *kind.encode(), split, start])
        return _draw_chunk(prototypes, labels[split][start : start + CHUNK], rng)

    # NumPy and SciPy release the interpreter lock in the heavy steps, so threads do;
    # processes would need a main module that can be imported, which notebooks lack.
    images = [np.empty((n, SIDE, SIDE), np.uint8) for n in (train, test)]
    with (
        ThreadPoolExecutor(threads or _usable_cores()) as pool,
        tqdm(
            total=train + test,
            desc=f"drawing {kind}",
            unit=" images",
            disable=not progress,
        ) as bar,
    ):
        for (split, start), drawn in zip(jobs, pool.map(chunk, jobs), strict=True):
            images[split][start : start + len(drawn)] = drawn
            bar.update(len(drawn))
    if _count_distinct(images) != train + test:
        raise RuntimeError(f"seed {seed} draws an image twice; choose another seed")
    return images[0], labels[0], images[1], labels[1]


def _usable_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _labels(kind: Kind, seed: int, split: int, count: int) -> np.ndarray:
    """Return `count` balanced, shuffled labels, uint8."""
    rng = np.random.default_rng([seed, *kind.encode(), split])
    return rng.permutation(np.arange(count) % len(CLASSES[kind])).astype(np.uint8)


def _count_distinct(images: list[np.ndarray]) -> int:
    """Count how many different images there are in all the sets together."""
    return len({image.tobytes() for part in images for image in part})


# --- glyphs -----------------------------------------------------------------------


@lru_cache(maxsize=2)
def _prototypes(kind: Kind) -> _Prototypes:
    """Render every glyph of a kind in every font."""
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    characters = _characters(kind)
    fields = [
        _distance_fields(folder / f"{font}.ttf", character)
        for font in FONTS
        for _, character in characters
    ]
    classes = np.tile([index for index, _ in characters], len(FONTS))
    members = tuple(
        np.flatnonzero(classes == index) for index in range(len(CLASSES[kind]))
    )
    outlines, skeletons = zip(*fields, strict=True)
    return _Prototypes(np.stack(outlines), np.stack(skeletons), members)


def _characters(kind: Kind) -> list[tuple[int, str]]:
    """List class index and character, in upper and in lower case where they differ."""
    return [
        (index, character)
        for index, name in enumerate(CLASSES[kind])
        for character in dict.fromkeys((name, name.lower()))
    ]


def _distance_fields(font: Path, character: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the outline and the skeleton distance of one glyph, canvas units."""
    ink = _render(font, character, _GLYPH * 2, _CANVAS * 2)
    outline = distance_transform_edt(~ink) - distance_transform_edt(ink)
    skeleton = distance_transform_edt(~skeletonize(ink))
    return _halve(outline), _halve(skeleton)


def _render(font: Path, character: str, side: int, canvas: int) -> np.ndarray:
    """Render a glyph as a bitmap: longer side `side`, centred on `canvas`² pixels."""
    # The size at which the longer side comes out right is found from a first try.
    left, top, right, bottom = ImageFont.truetype(str(font), 100).getbbox(character)
    size = 100 * side / max(right - left, bottom - top)
    face = ImageFont.truetype(str(font), round(size))
    left, top, right, bottom = face.getbbox(character)
    picture = Image.new("L", (canvas, canvas))
    position = ((canvas - left - right) / 2, (canvas - top - bottom) / 2)
    ImageDraw.Draw(picture).text(position, character, fill=255, font=face)
    return np.asarray(picture) >= 128


def _halve(field: np.ndarray) -> np.ndarray:
    """Average 2×2 cells of a distance field, and count in the larger cells' units."""
    side = len(field) // 2
    return (field.reshape(side, 2, side, 2).mean((1, 3)) / 2).astype(np.float32)


# --- one chunk of images ----------------------------------------------------------


def _draw_chunk(
    prototypes: _Prototypes, labels: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw one image per label: uint8 (n, 28, 28)."""
    count = len(labels)
    rows = np.array([rng.choice(prototypes.members[label]) for label in labels])
    field = _pen(prototypes.outline[rows], prototypes.skeleton[rows], rng)
    warped = _sample(field, _warp(count, rng))
    ink = _fit_box(warped, softness=rng.uniform(0.7, 1.3, count))
    return _centre_mass(ink)


def _pen(
    outline: np.ndarray, skeleton: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Blend print and pen stroke: a field that is negative where there is ink."""
    shape = (len(outline), 1, 1)
    blend = rng.beta(1.0, 2.5, shape).astype(np.float32)
    radius = rng.uniform(1.5, 3.3, shape).astype(np.float32)
    weight = rng.normal(0.0, 0.4, shape).astype(np.float32)  # of the printed part
    return blend * (outline - weight) + (1 - blend) * (skeleton - radius)


def _warp(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return where on the glyph's canvas each warped sample lies.

    Returns
    -------
    ndarray of float64, shape (count, 2, canvas, canvas)
        Row and column on the glyph's canvas.
    """
    angle = np.deg2rad(rng.normal(0, 9, count).clip(-25, 25))
    shear = rng.normal(0.0, 0.22, count).clip(-0.6, 0.6)
    aspect = np.exp(rng.normal(0.05, 0.18, count).clip(-0.4, 0.5))
    cos, sin = np.cos(angle), np.sin(angle)
    axis = np.arange(_CANVAS) - (_CANVAS - 1) / 2
    y, x = axis[:, None], axis[None, :]
    c, s = cos[:, None, None], sin[:, None, None]
    stretch = np.sqrt(aspect)[:, None, None]
    turned_y, turned_x = c * y - s * x, s * y + c * x
    source_y = turned_y / stretch
    source_x = (turned_x + shear[:, None, None] * turned_y) * stretch
    centre = (_CANVAS - 1) / 2
    return np.stack([source_y, source_x], 1) + centre + _elastic(count, rng)


def _elastic(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return smooth random displacements, float64 (count, 2, canvas, canvas).

    White noise on a coarse grid under a Gaussian: Simard's recipe, with the smoothing
    written as one matrix per axis.
    """
    knots = np.linspace(0, _CANVAS - 1, _COARSE)
    distance = np.arange(_CANVAS)[:, None] - knots[None, :]
    sigma = rng.uniform(6.5, 9.0)
    smooth = np.exp(-0.5 * (distance / sigma) ** 2)
    smooth /= np.sqrt((smooth**2).sum(1, keepdims=True))  # unit variance everywhere
    noise = rng.standard_normal((count, 2, _COARSE, _COARSE))
    strength = rng.uniform(0.8, 3.0, (count, 1, 1, 1))
    return strength * (smooth @ noise @ smooth.T)


def _sample(field: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Read each field bilinearly at its own places: (n, h, w), (n, 2, H, W)."""
    out = np.empty((len(field), *where.shape[2:]), np.float32)
    for source, places, target in zip(field, where, out, strict=True):
        map_coordinates(source, places, target, order=1, mode="nearest")
    return out


# --- MNIST's framing --------------------------------------------------------------


def _fit_box(field: np.ndarray, softness: np.ndarray) -> np.ndarray:
    """Scale the ink so that its longer side spans the 20-pixel box.

    Parameters
    ----------
    field : ndarray of float32, shape (n, canvas, canvas)
        Negative where there is ink.
    softness : ndarray, shape (n,)
        Width of the grey edge, pixels.

    Returns
    -------
    ndarray of float64, shape (n, 20, 20)
        Ink, 0 to 1; the shorter side is centred.
    """
    top, bottom = _extent(field.min(2))
    left, right = _extent(field.min(1))
    side = np.maximum(bottom - top, right - left)
    step = side / (BOX * _FINE)
    ticks = np.arange(BOX * _FINE) + 0.5 - BOX * _FINE / 2
    rows = ((top + bottom) / 2)[:, None] + step[:, None] * ticks
    columns = ((left + right) / 2)[:, None] + step[:, None] * ticks
    where = np.empty((len(field), 2, BOX * _FINE, BOX * _FINE))
    where[:, 0], where[:, 1] = rows[:, :, None], columns[:, None, :]
    pixel = step * _FINE
    distance = _sample(field, where) / (pixel * softness)[:, None, None]
    fine = np.clip(0.5 - distance, 0, 1)
    return fine.reshape(-1, BOX, _FINE, BOX, _FINE).mean((2, 4))


def _extent(profile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each row of (n, k) first and last crosses 0, between samples."""
    n, k = profile.shape
    inside = profile < 0
    first = inside.argmax(1).clip(1, k - 1)
    last = (k - 1 - inside[:, ::-1].argmax(1)).clip(0, k - 2)
    row = np.arange(n)

    def crossing(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
        a, b = profile[row, inner], profile[row, outer]
        return inner + (outer - inner) * np.clip(a / np.minimum(a - b, -1e-6), 0, 1)

    return crossing(first, first - 1), crossing(last, last + 1)


def _centre_mass(ink: np.ndarray) -> np.ndarray:
    """Place (n, 20, 20) ink on (n, 28, 28) uint8, centre of mass nearest (14, 14).

    A very top- or bottom-heavy glyph stops at the edge of the image instead.
    """
    images = np.zeros((len(ink), SIDE, SIDE), np.uint8)
    grey = np.rint(255 * ink).astype(np.uint8)
    mass = grey.sum((1, 2), dtype=np.float64)
    axis = np.arange(BOX)
    centre_y = (grey.sum(2) @ axis) / mass
    centre_x = (grey.sum(1) @ axis) / mass
    top = np.rint(CENTRE - centre_y).astype(int).clip(0, SIDE - BOX)
    left = np.rint(CENTRE - centre_x).astype(int).clip(0, SIDE - BOX)
    for image, box, y, x in zip(images, grey, top, left, strict=True):
        image[y : y + BOX, x : x + BOX] = box
    return images
