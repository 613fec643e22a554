"""Principal component analysis: the best linear autoencoder, and a baseline."""

from __future__ import annotations

import numpy as np

from caebook.images import check_images, slices, to_float, to_uint8


class PCA:
    """Principal components of images: directions of pixels, most variance first.

    The encoder subtracts the mean image and projects onto the first directions; the
    decoder adds them up again. No linear encoder and decoder with as many numbers have
    a smaller mean squared error on the images that it was fitted to.

    Parameters
    ----------
    images : uint8 (N, 28, 28), to fit to

    Attributes
    ----------
    mean : float32 (784,), from 0 to 1
    directions : float32 (784, 784); one direction of length 1 a row

    References
    ----------
    Bourlard and Kamp, "Auto-association by multilayer perceptrons and singular value
    decomposition", 1988, for the linear autoencoder.
    """

    def __init__(self, images: np.ndarray) -> None:
        check_images(images)
        total, products = np.zeros(784), np.zeros((784, 784))
        for part in slices(len(images), 5_000):  # at most 16 MB of floats at a time
            pixels = to_float(images[part]).reshape(-1, 784)
            total += pixels.sum(axis=0)
            products += pixels.T @ pixels
        mean = total / len(images)
        covariance = products / len(images) - np.outer(mean, mean)
        _, vectors = np.linalg.eigh(covariance)  # sorted upwards
        self.mean = mean.astype(np.float32)
        self.directions = np.ascontiguousarray(vectors.T[::-1]).astype(np.float32)

    def encode(self, images: np.ndarray, numbers: int) -> np.ndarray:
        """uint8 (N, 28, 28) → float32 (N, numbers); 1 to 784 numbers."""
        check_images(images)
        if not 1 <= numbers <= 784:
            raise ValueError(f"a code of PCA has 1 to 784 numbers, not {numbers}")
        pixels = to_float(images).reshape(-1, 784) - self.mean
        return pixels @ self.directions[:numbers].T

    def decode(self, code: np.ndarray) -> np.ndarray:
        """float32 (N, numbers) → float32 (N, 28, 28), not clipped to 0 to 1."""
        pixels = code @ self.directions[: code.shape[1]] + self.mean
        return pixels.reshape(-1, 28, 28)

    def reconstruct(self, images: np.ndarray, numbers: int) -> np.ndarray:
        """uint8 (N, 28, 28) → reconstructions, uint8 (N, 28, 28)."""
        parts = slices(len(images), 5_000)
        decoded = [self.decode(self.encode(images[p], numbers)) for p in parts]
        return np.concatenate([to_uint8(part) for part in decoded])
