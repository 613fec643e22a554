"""Principal components and cosine transform: rounded numbers, entropy coded."""

from __future__ import annotations

import numpy as np
from scipy import fft

from caebook.codec import QUANTISERS, StaticCoder, count_levels, frequencies
from caebook.evaluation.pca import PCA
from caebook.images import check_images, slices, to_float, to_uint8
from caebook.rivals.base import Rival, int8_rows, stored

PART = 2_000  # images transformed at once


class _Stepped(Rival):
    """784 numbers, each rounded to a multiple of one step, and the static coder.

    Numbers that are rounded to 0 in every training image are left out. A stream is the
    number of images (4 bytes) and the coder's. Sub-classes say what the numbers are, in
    `forward` and `backward`, and set the name.

    Parameters
    ----------
    step : on the scale where white is 1
    training : images, uint8 (N, 28, 28), from which the coder's tables are made
    """

    family = "transform"

    def __init__(self, step: float, training: np.ndarray) -> None:
        check_images(training)
        self.step, self.setting = step, f"step {step:g}"
        parts = slices(len(training), PART)
        index = [np.rint(self.forward(training[p]) / step).astype("i2") for p in parts]
        self.kept = np.flatnonzero(np.any([part.any(axis=0) for part in index], axis=0))
        reach = 1 + max(int(np.abs(part).max()) for part in index)
        self.levels = min(256, 1 << (2 * reach).bit_length())
        counts = sum(count_levels(self._limited(part), self.levels) for part in index)
        self.tables = frequencies(counts)
        self.coder = StaticCoder(self.tables)

    def forward(self, images: np.ndarray) -> np.ndarray:
        """Images, uint8 (n, 28, 28) → numbers, float32 (n, 784)."""
        raise NotImplementedError

    def backward(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers, float32 (n, 784) → floats (n, 28, 28)."""
        raise NotImplementedError

    def rounding(self) -> int:
        """Bytes of tables, of the step, and of which numbers are kept."""
        kept = np.zeros(784, bool)
        kept[self.kept] = True
        return stored(self.tables, np.float32([self.step]), np.packbits(kept))

    def encode(self, images: np.ndarray) -> bytes:
        """See `Rival`."""
        parts = [self._symbols(images[part]) for part in slices(len(images), PART)]
        content = self.coder.encode(np.concatenate(parts))
        return len(images).to_bytes(4, "little") + content

    def decode(self, stream: bytes) -> np.ndarray:
        """See `Rival`."""
        index = self.coder.decode(stream[4:], int.from_bytes(stream[:4], "little"))
        images = np.empty((len(index), 28, 28), np.uint8)
        for part in slices(len(index), PART):
            rounded = index[part].astype(np.float32) - self.levels // 2
            numbers = np.zeros((len(rounded), 784), np.float32)
            numbers[:, self.kept] = rounded * np.float32(self.step)
            images[part] = to_uint8(self.backward(numbers))
        return images

    def _symbols(self, images: np.ndarray) -> np.ndarray:
        return self._limited(np.rint(self.forward(images) / self.step))

    def _limited(self, index: np.ndarray) -> np.ndarray:
        """Multiples of the step, (n, 784) → symbols of the numbers that are kept."""
        middle = self.levels // 2
        shifted = np.clip(index[:, self.kept] + middle, 0, self.levels - 1)
        return shifted.astype(np.uint8)


class _Basis:
    """The mean image and the directions of a PCA as a reader gets them, in 8 bits."""

    def __init__(self, pca: PCA) -> None:
        self.pca, self.mean = pca, to_uint8(pca.mean)
        self.rows, self.scales = int8_rows(pca.directions)
        self.directions = self.rows * self.scales

    def numbers(self, images: np.ndarray, count: int = 784) -> np.ndarray:
        pixels = to_float(images).reshape(-1, 784) - self.pca.mean
        return pixels @ self.pca.directions[:count].T

    def images(self, numbers: np.ndarray) -> np.ndarray:
        pixels = numbers @ self.directions[: numbers.shape[1]] + to_float(self.mean)
        return pixels.reshape(-1, 28, 28)

    def bytes(self, kept: np.ndarray) -> int:
        return stored(self.mean, self.rows[kept], self.scales[kept])


class PrincipalComponents(_Stepped):
    """Numbers by principal components; a reader needs the directions that are kept.

    Parameters
    ----------
    pca
    step, training : see `_Stepped`
    """

    name = "PCA"

    def __init__(self, pca: PCA, step: float, training: np.ndarray) -> None:
        self.basis = _Basis(pca)
        super().__init__(step, training)
        self.side = self.basis.bytes(self.kept) + self.rounding()

    def forward(self, images: np.ndarray) -> np.ndarray:
        """See `_Stepped`."""
        return self.basis.numbers(images)

    def backward(self, numbers: np.ndarray) -> np.ndarray:
        """See `_Stepped`."""
        return self.basis.images(numbers)


class CosineTransform(_Stepped):
    """Numbers by the cosine transform of the whole image (Ahmed et al., 1974)."""

    name = "DCT"

    def __init__(self, step: float, training: np.ndarray) -> None:
        super().__init__(step, training)
        self.side = self.rounding()

    def forward(self, images: np.ndarray) -> np.ndarray:
        """See `_Stepped`."""
        waves = fft.dctn(to_float(images), axes=(1, 2), norm="ortho")
        return waves.reshape(-1, 784)

    def backward(self, numbers: np.ndarray) -> np.ndarray:
        """See `_Stepped`."""
        return fft.idctn(numbers.reshape(-1, 28, 28), axes=(1, 2), norm="ortho")


class PackedComponents(Rival):
    """The first principal components in a fixed number of bits each: a record.

    Every image takes ``numbers · bits / 8`` bytes, with nothing around them.

    Parameters
    ----------
    pca
    numbers : components
    bits : 4 or 8 for each
    training : images from which the levels are made, by `codec.uniform` for 8 bits and
        `codec.lloyd_max` for 4
    """

    family = "transform"

    def __init__(self, pca: PCA, numbers: int, bits: int, training: np.ndarray) -> None:
        if bits not in (4, 8):
            raise ValueError(f"bits must be 4 or 8, not {bits}")
        self.name, self.setting = f"PCA {numbers}, packed", f"{bits} bits"
        self.basis, self.bits, self.count = _Basis(pca), bits, numbers
        codes = self.basis.numbers(training, numbers)
        fit = QUANTISERS["lloyd-max" if bits == 4 else "uniform"]
        self.quantisers = [fit(codes[:, [i]], bits) for i in range(numbers)]
        levels = np.stack([quantiser.levels for quantiser in self.quantisers])
        self.side = self.basis.bytes(np.arange(numbers)) + stored(levels)

    def encode(self, images: np.ndarray) -> bytes:
        """See `Rival`."""
        codes = self.basis.numbers(images, self.count)
        columns = [q.encode(codes[:, [i]]) for i, q in enumerate(self.quantisers)]
        return pack(np.concatenate(columns, axis=1), self.bits)

    def decode(self, stream: bytes) -> np.ndarray:
        """See `Rival`."""
        index = unpack(stream, self.bits, self.count)
        columns = [q.decode(index[:, i]) for i, q in enumerate(self.quantisers)]
        return to_uint8(self.basis.images(np.stack(columns, axis=1)))


def pack(symbols: np.ndarray, bits: int) -> bytes:
    """Indices, uint8 or uint16 (N, n), side by side, `bits` each, 1 to 16."""
    wide = symbols.astype(">u2")[..., None].view(np.uint8)
    flags = np.unpackbits(wide, axis=-1)[..., 16 - bits :]
    return np.packbits(flags).tobytes()


def unpack(content: bytes, bits: int, numbers: int) -> np.ndarray:
    """The reverse of `pack`, uint16 (N, numbers), if ``numbers · bits`` is 8 or more.

    Less would leave open whether the last bits are an image's, or fill a byte.
    """
    flags = np.unpackbits(np.frombuffer(content, np.uint8))
    count = len(flags) // (numbers * bits)
    flags = flags[: count * numbers * bits].reshape(count, numbers, bits)
    return flags @ (1 << np.arange(bits, dtype=np.uint16)[::-1])
