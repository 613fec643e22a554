"""Image formats: PNG, JPEG, JPEG-LS, JPEG 2000, WebP, AVIF, JPEG XL.

All are used at the highest effort that takes two seconds or less for a thousand images
on one core of the machine on which this was chosen. JPEG-LS has no effort to choose.
For JPEG 2000 it is how often its wavelet transform is repeated: each number is tried.
"""

from __future__ import annotations

import io
import math

import numpy as np
import PIL.features
from PIL import Image

from caebook.rivals.base import Rival

# Formats that the package imagecodecs writes, by its own names; Pillow the others.
IMAGECODECS = {"JPEG XL": "jpegxl", "JPEG-LS": "jpegls"}
# What Pillow calls the features that some of its formats need.
FEATURES = {"JPEG 2000": "jpg_2000", "WebP": "webp", "AVIF": "avif"}
WORDS = {"JPEG XL": "distance", "JPEG-LS": "error", "JPEG 2000": "ratio"}
# What Pillow is told of each format's effort.
EFFORT = {
    "PNG": {"optimize": True},
    "JPEG": {"optimize": True},
    "WebP": {"method": 6},
    "AVIF": {"speed": 6, "max_threads": 1},
}
JPEG_XL_EFFORT = 9
# What JPEG 2000 calls resolutions: 1 to 4, since each has half the side of the one
# before, and an image 28 pixels.
RESOLUTIONS = range(1, 5)
WEBP_LOSSLESS = 75  # what this format calls quality is effort if nothing is lost


class ImageFormat(Rival):
    """An image format: all images side by side on one sheet, or a single image.

    Parameters
    ----------
    form : ``"PNG"``, ``"JPEG"``, ``"JPEG-LS"``, ``"JPEG 2000"``, ``"WebP"``,
        ``"AVIF"`` or ``"JPEG XL"``
    quality : 0 to 100; None for lossless. For three formats a larger one is worse: for
        JPEG XL it is a distance, for JPEG-LS the largest error of a pixel in grey
        levels, for JPEG 2000 the size of the pixels divided by that of the stream

    Raises
    ------
    ImportError
        If the format cannot be written here; see `available`.
    """

    family = "image codec"

    def __init__(self, form: str, quality: int | None = None) -> None:
        if not available(form):
            raise ImportError(f"{form} cannot be written here")
        self.name, self.quality = form, quality
        word = WORDS.get(form, "quality")
        self.setting = "lossless" if quality is None else f"{word} {quality}"

    def encode(self, images: np.ndarray) -> bytes:
        """See `Rival`."""
        picture = sheet(images)
        if self.name == "JPEG XL":
            from imagecodecs import jpegxl_encode

            lossless = self.quality is None
            options = {"lossless": True} if lossless else {"distance": self.quality}
            return jpegxl_encode(
                picture, effort=JPEG_XL_EFFORT, numthreads=1, **options
            )
        if self.name == "JPEG-LS":
            from imagecodecs import jpegls_encode

            return jpegls_encode(picture, level=self.quality or 0)
        if self.name == "JPEG 2000":
            return _jpeg_2000(picture, self.quality)
        options = dict(EFFORT[self.name])
        if self.quality is not None:
            options["quality"] = self.quality
        elif self.name == "WebP":
            options |= {"lossless": True, "quality": WEBP_LOSSLESS}
        file = io.BytesIO()
        Image.fromarray(picture).save(file, self.name, **options)
        return file.getvalue()

    def decode(self, stream: bytes) -> np.ndarray:
        """See `Rival`."""
        if self.name in IMAGECODECS:
            import imagecodecs

            return cut(getattr(imagecodecs, f"{IMAGECODECS[self.name]}_decode")(stream))
        return cut(_opened(stream))


def _opened(stream: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(stream)).convert("L"))


def _jpeg_2000(picture: np.ndarray, ratio: int | None) -> bytes:
    """The bare codestream: the shortest if nothing is lost, else the most accurate."""
    options: dict[str, object] = {"no_jp2": True}  # no boxes around it
    if ratio is not None:
        options |= {"irreversible": True, "quality_layers": [ratio]}
    streams = []
    for resolutions in RESOLUTIONS:
        file, tried = io.BytesIO(), {**options, "num_resolutions": resolutions}
        Image.fromarray(picture).save(file, "JPEG2000", **tried)
        streams.append(file.getvalue())
    if ratio is None:
        return min(streams, key=len)
    return min(
        streams, key=lambda stream: np.square(picture - 1.0 * _opened(stream)).sum()
    )


def available(form: str) -> bool:
    """Whether a format can be written here."""
    if form in IMAGECODECS:
        try:
            import imagecodecs
        except ImportError:
            return False
        return getattr(imagecodecs, IMAGECODECS[form].upper()).available
    return form in ("PNG", "JPEG") or PIL.features.check(FEATURES[form])


def image_formats(qualities: dict[str, tuple[int | None, ...]]) -> list[ImageFormat]:
    """Formats at some qualities; those that cannot be written here are left out."""
    return [
        ImageFormat(form, quality)
        for form, chosen in qualities.items()
        if available(form)
        for quality in chosen
    ]


def sheet(images: np.ndarray) -> np.ndarray:
    """All images side by side on one picture, as square as their number allows."""
    rows = max(n for n in range(1, math.isqrt(len(images)) + 1) if not len(images) % n)
    tiles = images.reshape(rows, -1, 28, 28).swapaxes(1, 2)
    return tiles.reshape(28 * rows, -1)


def cut(picture: np.ndarray) -> np.ndarray:
    """Undoes `sheet`."""
    rows, columns = (side // 28 for side in picture.shape)
    return picture.reshape(rows, 28, columns, 28).swapaxes(1, 2).reshape(-1, 28, 28)
