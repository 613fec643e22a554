"""Vector quantisers: an image becomes the index of the nearest entry in a list.

With one stage this is k-means: a list of typical images. With more it is a residual
vector quantiser (Juang & Gray, 1982, doi:10.1109/ICASSP.1982.1171604): each further
stage has a list of what the stages before leave over, and the image is the sum of one
entry of each. The indices are stored as they are, or entropy coded.
"""

from __future__ import annotations

import copy

import numpy as np
from scipy import sparse

from caebook.codec import StaticCoder, count_levels, frequencies
from caebook.evaluation.pca import PCA
from caebook.images import slices, to_float, to_uint8
from caebook.rivals.base import Rival, digest, int8_rows, stored
from caebook.rivals.transforms import pack, unpack

COMPONENTS = 64  # in which clusters grow: distances are nearly those of the pixels
ROUNDS = (6,) * 6 + (1,) * 6  # of k-means, each on one in so many images
PART = 1_000  # images worked on at once


class VectorQuantiser(Rival):
    """Indices into one list of images or more, chosen one after the other (greedy).

    An image takes ``stages · log2(entries)`` bits, with nothing around them.

    Parameters
    ----------
    pca : whose first components are used to grow the clusters
    stages : lists
    entries : in a list; a power of 2, 16 or more
    training : images, uint8 (N, 28, 28), N at least `entries`
    """

    family = "clusters"

    def __init__(
        self, pca: PCA, stages: int, entries: int, training: np.ndarray
    ) -> None:
        self.bits = entries.bit_length() - 1
        if 1 << self.bits != entries or self.bits < 4:
            raise ValueError(f"entries must be a power of 2 from 16 up, not {entries}")
        self.lists: list[np.ndarray] = []  # float32 (entries, 784), as a reader gets it
        self.sides: list[int] = []
        rest = to_float(training).reshape(-1, 784)
        directions = pca.directions[:COMPONENTS].T
        points = rest @ directions
        for stage in range(stages):
            values, groups = _cluster(rest, points, entries, stage)
            rows, scales = int8_rows(values)
            self.lists.append(rows * scales)
            self.sides.append(stored(rows, scales))
            if stage + 1 < stages:
                points -= (self.lists[-1] @ directions)[groups]
                for part in slices(len(rest), PART):
                    rest[part] -= self.lists[-1][groups[part]]
        self._all_lists = self.lists
        self._known: dict[bytes, np.ndarray] = {}  # entries of all lists, by images
        self._describe()

    def first(self, stages: int) -> VectorQuantiser:
        """The same with fewer stages; nothing has to be learned again."""
        shorter = copy.copy(self)
        shorter.lists, shorter.sides = self.lists[:stages], self.sides[:stages]
        shorter._describe()
        return shorter

    def _describe(self) -> None:
        entries, stages = 1 << self.bits, len(self.lists)
        self.name = "k-means" if stages == 1 else "residual VQ"
        self.setting = f"{entries:,} images" if stages == 1 else f"{stages} × {entries}"
        self.side = sum(self.sides)

    def encode(self, images: np.ndarray) -> bytes:
        """See `Rival`."""
        return pack(self.indices(images), self.bits)

    def decode(self, stream: bytes) -> np.ndarray:
        """See `Rival`."""
        return self.images(unpack(stream, self.bits, len(self.lists)))

    def indices(self, images: np.ndarray) -> np.ndarray:
        """Images, uint8 (N, 28, 28) → entries of each list, uint16 (N, stages).

        A list does not depend on those after it, so the same images are searched once
        for this object and all that `first` has made of it.
        """
        key = digest(images)
        if key not in self._known:
            self._known[key] = self._search(images)
        return self._known[key][:, : len(self.lists)]

    def _search(self, images: np.ndarray) -> np.ndarray:
        index = np.empty((len(images), len(self._all_lists)), np.uint16)
        for part in slices(len(images), PART):
            rest = to_float(images[part]).reshape(-1, 784)
            for stage, values in enumerate(self._all_lists):
                index[part, stage] = nearest(rest, values)
                rest -= values[index[part, stage]]
        return index

    def images(self, index: np.ndarray) -> np.ndarray:
        """Undoes `indices`, but for what the lists leave over."""
        images = np.empty((len(index), 28, 28), np.uint8)
        for part in slices(len(index), PART):
            pixels = sum(
                values[index[part, stage]] for stage, values in enumerate(self.lists)
            )
            images[part] = to_uint8(pixels.reshape(-1, 28, 28))
        return images


class CodedVectors(Rival):
    """A vector quantiser whose indices the static coder writes.

    A stream is the number of images (4 bytes) and the coder's.

    Parameters
    ----------
    lists : of 256 entries each, or fewer
    training : images, uint8 (N, 28, 28), from which a table is made for each list
    """

    family = "clusters"

    def __init__(self, lists: VectorQuantiser, training: np.ndarray) -> None:
        entries = 1 << lists.bits
        if entries > 256:
            raise ValueError(f"the coder needs at most 256 entries, not {entries}")
        self.lists, self.setting = lists, lists.setting
        short = f", {entries} entries" if entries < 256 else ""
        self.name = f"{lists.name}{short}, coded"
        counts = count_levels(lists.indices(training).astype(np.uint8), entries)
        tables = frequencies(counts)
        self.coder, self.side = StaticCoder(tables), lists.side + stored(tables)

    def encode(self, images: np.ndarray) -> bytes:
        """See `Rival`."""
        content = self.coder.encode(self.lists.indices(images).astype(np.uint8))
        return len(images).to_bytes(4, "little") + content

    def decode(self, stream: bytes) -> np.ndarray:
        """See `Rival`."""
        index = self.coder.decode(stream[4:], int.from_bytes(stream[:4], "little"))
        return self.lists.images(index)


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Find the nearest of some centres, float32 (k, d), to points, float32 (N, d)."""
    offsets = np.square(centres).sum(axis=1) / 2
    parts = slices(len(points), PART)
    found = [(points[part] @ centres.T - offsets).argmax(axis=1) for part in parts]
    return np.concatenate(found)


def _cluster(
    rows: np.ndarray, points: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """k-means of rows, float32 (N, 784), grown in few components, float32 (N, d).

    Returns the means of the rows, float32 (count, 784), and each row's group.
    """
    first = np.random.default_rng(seed).choice(len(points), count, replace=False)
    centres = points[first]
    for share in ROUNDS:
        some = points[::share]
        centres = _means(some, nearest(some, centres), centres)
    groups = nearest(points, centres)
    return _means(rows, groups, rows[first]), groups


def _means(rows: np.ndarray, groups: np.ndarray, old: np.ndarray) -> np.ndarray:
    """The mean of each group's rows; a group without rows keeps its old one."""
    ones = np.ones(len(rows), np.float32)
    members = sparse.csr_matrix(
        (ones, (groups, np.arange(len(rows)))), shape=(len(old), len(rows))
    )
    sizes = np.bincount(groups, minlength=len(old))[:, None]
    return np.where(sizes > 0, members @ rows / np.maximum(sizes, 1), old).astype("f4")
