"""Image formats: PNG, JPEG, WebP, AVIF, JPEG XL.

All are used at the highest effort that takes two seconds or less for a thousand images
on one core of the machine on which this was chosen.
"""

from __future__ import annotations

import io
import math

import numpy as np
import PIL.features
from PIL import Image

from caebook.rivals.base import Rival

# What Pillow is told of each format's effort.
EFFORT = {
    "PNG": {"optimize": True},
    "JPEG": {"optimize": True},
    "WebP": {"method": 6},
    "AVIF": {"speed": 6, "max_threads": 1},
}
JPEG_XL_EFFORT = 9
WEBP_LOSSLESS = 75  # what this format calls quality is effort if nothing is lost


class ImageFormat(Rival):
    """An image format: all images side by side on one sheet, or a single image.

    Parameters
    ----------
    form : ``"PNG"``, ``"JPEG"``, ``"WebP"``, ``"AVIF"`` or ``"JPEG XL"``
    quality : 0 to 100; for JPEG XL a distance, of which a larger one is worse; None
        for lossless

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
        word = "distance" if form == "JPEG XL" else "quality"
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
        if self.name == "JPEG XL":
            from imagecodecs import jpegxl_decode

            return cut(jpegxl_decode(stream))
        return cut(np.asarray(Image.open(io.BytesIO(stream)).convert("L")))


def available(form: str) -> bool:
    """Whether a format can be written here."""
    if form == "JPEG XL":
        try:
            from imagecodecs import jpegxl_encode  # noqa: F401
        except ImportError:
            return False
        return True
    return form in ("PNG", "JPEG") or PIL.features.check(form.lower())


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
