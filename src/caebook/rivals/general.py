"""Compressors that know nothing of images, and grey levels thrown away."""

from __future__ import annotations

import bz2
import lzma

import numpy as np

from caebook.images import slices
from caebook.rivals.base import Rival


class Lossless(Rival):
    """A general compressor, on all pixels one after the other.

    Parameters
    ----------
    name : ``"bz2"`` or ``"xz"``, at their highest effort
    """

    family, setting = "general", "lossless"

    def __init__(self, name: str) -> None:
        self.name = name

    def encode(self, images: np.ndarray) -> bytes:
        """See `Rival`."""
        if self.name == "bz2":
            return bz2.compress(images.tobytes(), 9)
        return lzma.compress(images.tobytes(), preset=9 | lzma.PRESET_EXTREME)

    def decode(self, stream: bytes) -> np.ndarray:
        """See `Rival`."""
        unpack = {"bz2": bz2.decompress, "xz": lzma.decompress}[self.name]
        return np.frombuffer(unpack(stream), np.uint8).reshape(-1, 28, 28)


class OneBit(Rival):
    """A threshold at half: one bit a pixel, eight in a byte, then bz2.

    Parameters
    ----------
    black, white : grey levels to decode to
    """

    name, family = "1 bit + bz2", "general"

    def __init__(self, black: int = 0, white: int = 255) -> None:
        self.setting, self.levels = f"{black} and {white}", np.uint8([black, white])
        self.side = 0 if (black, white) == (0, 255) else 2

    def encode(self, images: np.ndarray) -> bytes:
        """See `Rival`."""
        return bz2.compress(np.packbits(images >= 128).tobytes(), 9)

    def decode(self, stream: bytes) -> np.ndarray:
        """See `Rival`."""
        content = np.frombuffer(bz2.decompress(stream), np.uint8)
        return self.levels[np.unpackbits(content).reshape(-1, 28, 28)]


class GreyLevels(Rival):
    """Few grey levels at equal distances, whose indices another codec stores.

    Parameters
    ----------
    count : grey levels, 2 to 128, from black to white
    lossless : the other codec
    training : images, uint8 (N, 28, 28); if given, an index is decoded to the mean of
        the training pixels that have it, which makes the squared error smaller
    """

    def __init__(
        self, count: int, lossless: Rival, training: np.ndarray | None = None
    ) -> None:
        self.lossless, self.family = lossless, lossless.family
        self.name, self.side = f"grey levels + {lossless.name}", lossless.side
        self.setting = f"{count} levels"
        self.levels = np.rint(np.arange(count) * 255 / (count - 1)).astype(np.uint8)
        self.nearest = np.rint(np.arange(256) / 255 * (count - 1)).astype(np.uint8)
        if training is not None:
            parts = slices(len(training), 1_000)  # the counts of all need much memory
            counted = [np.bincount(training[p].ravel(), minlength=256) for p in parts]
            pixels = np.sum(counted, axis=0)
            sums = np.bincount(self.nearest, pixels * np.arange(256))
            counts = np.maximum(np.bincount(self.nearest, pixels), 1)
            self.levels = np.rint(sums / counts).astype(np.uint8)
            self.setting += ", means"
            self.side += count

    def encode(self, images: np.ndarray) -> bytes:
        """See `Rival`."""
        return self.lossless.encode(self.nearest[images])

    def decode(self, stream: bytes) -> np.ndarray:
        """See `Rival`."""
        return self.levels[self.lossless.decode(stream)]
