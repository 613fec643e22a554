"""What all ways to store images have in common, and how they are measured."""

from __future__ import annotations

import hashlib
import lzma
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from caebook.evaluation import metrics


class Rival(ABC):
    """A way to store images, with one setting.

    Attributes
    ----------
    name, setting : of the codec, for tables; no two have both in common
    family : "general", "image codec", "transform", "clusters" or "autoencoder"
    side : bytes that a reader must have beforehand; see `stored`
    system, framework : of an autoencoder's run
    """

    name: str
    setting: str
    family: str
    side: int = 0
    system: str | None = None
    framework: str | None = None

    @abstractmethod
    def encode(self, images: np.ndarray) -> bytes:
        """Images, uint8 (N, 28, 28) → bytes, from which alone `decode` makes images."""

    @abstractmethod
    def decode(self, stream: bytes) -> np.ndarray:
        """Bytes of `encode` → images, uint8 (N, 28, 28)."""


@dataclass(frozen=True, eq=False)
class Point:
    """A codec measured at one setting.

    Attributes
    ----------
    rival : the codec
    alone : whether each image has a stream of its own
    bytes : of all streams, per image
    errors : float64 (N,); the squared error of each image
    uqi : mean over the images
    share : it was measured on one in so many of the test images
    """

    rival: Rival
    alone: bool
    bytes: float
    errors: np.ndarray
    uqi: float
    share: int = 1

    @property
    def label(self) -> str:
        """Codec and setting."""
        return f"{self.rival.name}, {self.rival.setting}"

    @property
    def mse(self) -> float:
        """Mean squared error."""
        return float(self.errors.mean())

    @property
    def mse_error(self) -> float | None:
        """Standard error of `mse` over the images; None if there is but one."""
        count = len(self.errors)
        return float(self.errors.std(ddof=1) / math.sqrt(count)) if count > 1 else None

    @property
    def psnr(self) -> float | None:
        """Of the mean squared error, in dB; None if nothing was lost."""
        return float(metrics.psnr_of_mse(self.mse)) if self.mse else None

    def charged(self, images: int) -> float:
        """Bytes per image if `images` images share what a reader must have."""
        return self.bytes + self.rival.side / images

    def row(self) -> dict[str, object]:
        """The point as a row of a finding."""
        keys = ("family", "system", "framework", "setting")
        about = {key: getattr(self.rival, key) for key in keys}
        about |= {"codec": self.rival.name, "alone": self.alone, "ideal": False}
        about |= {"side_bytes": self.rival.side, "images": len(self.errors)}
        scores = {"mse": self.mse, "mse_error": self.mse_error}
        scores |= {"psnr": self.psnr, "uqi": self.uqi}
        return {**about, "bytes": self.bytes, **scores}


def measure(
    rival: Rival, images: np.ndarray, share: int = 1, alone: bool = False
) -> Point:
    """Encode images, decode the streams, and compare.

    Parameters
    ----------
    rival
    images : uint8 (N, 28, 28)
    share : take only one in so many of them, from the first on
    alone : give each image a stream of its own
    """
    images = images[::share]
    parts = [image[None] for image in images] if alone else [images]
    streams = [rival.encode(part) for part in parts]
    copies = np.concatenate([rival.decode(stream) for stream in streams])
    return Point(
        rival,
        alone,
        sum(map(len, streams)) / len(images),
        metrics.mse(images, copies),
        float(metrics.uqi(images, copies).mean()),
        share,
    )


def paired(first: Point, second: Point) -> tuple[np.ndarray, np.ndarray]:
    """Errors of two points on the images that both were measured on."""
    common = math.lcm(first.share, second.share)
    errors = [point.errors[:: common // point.share] for point in (first, second)]
    return errors[0], errors[1]


def front(points: Iterable[Point], images: int | None = None) -> list[Point]:
    """The points that none with as few bytes, or fewer, equals or beats by MSE.

    Parameters
    ----------
    points
    images : how many images share a decoder; by default decoders cost nothing
    """

    def size(point: Point) -> float:
        return point.charged(images) if images else point.bytes

    best: list[Point] = []
    for point in sorted(points, key=lambda p: (size(p), p.mse)):
        if not best or point.mse < best[-1].mse:
            best.append(point)
    return best


def break_even(ours: Point, other: Point) -> int | str | None:
    """Images for which our total, side included, is the smaller one.

    Returns
    -------
    int, str or None
        From how many on; ``"up to n"`` where the other needs more beforehand and less
        for an image; None if it never is.
    """
    gain = other.bytes - ours.bytes
    more = ours.rival.side - other.rival.side
    if gain > 0:
        return max(0, math.ceil(more / gain))
    if more >= 0:
        return None
    return f"up to {math.floor(more / gain):,}" if gain < 0 else 0


def stored(*parts: bytes | np.ndarray) -> int:
    """Bytes of what a reader must be given: each part after xz, at its best."""
    contents = [part if isinstance(part, bytes) else part.tobytes() for part in parts]
    return sum(min(len(content), len(_xz(content))) for content in contents)


def _xz(content: bytes) -> bytes:
    # The preset's dictionary is 64 MiB, and to prepare it takes longer than a small
    # content does; one that holds all of the content finds the same matches.
    room = max(4096, len(content))
    preset = {"preset": 9 | lzma.PRESET_EXTREME, "dict_size": room}
    filters = [{"id": lzma.FILTER_LZMA2, **preset}]
    return lzma.compress(content, lzma.FORMAT_RAW, filters=filters)


def digest(images: np.ndarray) -> bytes:
    """A key for what was computed of these images."""
    return hashlib.blake2b(np.ascontiguousarray(images)).digest()


def int8_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round rows of numbers to 8 bits, each row with a scale of its own.

    Parameters
    ----------
    values : float (n, m)

    Returns
    -------
    rounded : int8 (n, m)
    scales : float32 (n, 1); times these, the numbers are at most half a scale away
    """
    scales = np.abs(values).max(axis=1, keepdims=True).astype(np.float32) / 127
    scales[scales == 0] = 1
    return np.rint(values / scales).astype(np.int8), scales
