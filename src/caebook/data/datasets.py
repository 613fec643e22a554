"""Data sets as uint8 arrays, with where they came from and a checksum.

Four data sets have a name: ``mnist``, ``emnist-letters`` and two stand-ins that this
package draws, ``glyph-digits`` and ``glyph-letters``. Two more names choose:
``auto-digits`` means MNIST if it is available, else ``glyph-digits``; ``auto-letters``
means ``glyph-letters``. EMNIST is used only when asked for by its own name.

Files are looked for in ``$CAEBOOK_DATA``, then in the cache (see
`caebook.data.folders`); MNIST is then downloaded from public mirrors. EMNIST is one
large archive: only ``caebook data fetch emnist-letters`` downloads it.

If something is wrong with the data, a `DataError` says what, with which file, and what
to do.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from caebook.data.contents import Contents, read_real, unsound_files
from caebook.data.folders import (
    cache_folder,
    find_file,
    locate,
    locked_cache,
    not_here,
    supplied_root,
)
from caebook.data.idx import read_idx
from caebook.data.registry import AUTO, CLASSES, DRAWN, NAMES, REAL, IdxFile
from caebook.data.stand_ins import load_or_draw, read_drawn
from caebook.errors import DataError, DownloadError

__all__ = [
    "AUTO",
    "NAMES",
    "VALIDATION",
    "DataError",
    "Dataset",
    "DownloadError",
    "cache_folder",
    "fetch",
    "load",
    "locate",
    "read_idx",
    "read_letters_sample",
    "resolve",
    "verify",
]

logger = logging.getLogger(__name__)

#: Training images that `Dataset.training_split` holds out for validation.
VALIDATION = 5_000


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes
    ----------
    name : str
        Its concrete name, one of `NAMES`.
    train_images, test_images : ndarray of uint8, shape (N, 28, 28)
        0 is background, 255 is ink.
    train_labels, test_labels : ndarray of uint8, shape (N,)
        0-based index into `classes`.
    classes : tuple of str
        ("0", …, "9") or ("A", …, "Z").
    source : str
        Where the files came from, for a human reader.
    sha256 : str
        Of the uncompressed IDX bytes of training images, training labels, test
        images and test labels, one after the other.
    stand_in : bool
        True if the images were drawn by `caebook.glyphs`.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    source: str
    sha256: str
    stand_in: bool

    def training_split(
        self, count: int, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Take `count` shuffled training images, and images to validate on.

        The same `VALIDATION` training images are held out whatever `count` is. Only
        if `count` is all of them, nothing is left to hold out: the *test* set is
        returned for validation then, which is what the source projects do.

        Parameters
        ----------
        count : int
            1 to N - `VALIDATION`, or N, the number of all training images.
        seed : int, default 0
            Of the shuffle.

        Returns
        -------
        train_images, train_labels, validation_images, validation_labels : ndarray
            As in the data set itself, uint8; copies.

        Raises
        ------
        ValueError
            If `count` is none of these.
        """
        total = len(self.train_images)
        order = np.random.default_rng(seed).permutation(total)
        if count == total:
            return (
                self.train_images[order],
                self.train_labels[order],
                self.test_images.copy(),
                self.test_labels.copy(),
            )
        if not 1 <= count <= total - VALIDATION:
            raise ValueError(
                f"{self.name} has {total} training images and {VALIDATION} of them "
                f"are held out for validation: ask for 1 to {total - VALIDATION} "
                f"images, or for all {total}, not {count}"
            )
        held_out, taken = order[:VALIDATION], order[VALIDATION : VALIDATION + count]
        return (
            self.train_images[taken],
            self.train_labels[taken],
            self.train_images[held_out],
            self.train_labels[held_out],
        )

    def sorted_split(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Images to train and to validate on, from a file sorted by class.

        The first sixth of the training images in the order of their classes, and the
        next twelfth: what one gets of a sorted file that is cut without shuffling.

        Parameters
        ----------
        count : how many training images, evenly spread over that sixth; a fifth as
            many are for validation

        Raises
        ------
        ValueError
            If the sixth has fewer images.
        """
        order = np.argsort(self.train_labels, kind="stable")
        sixth = len(order) // 6
        if not 5 <= count <= sixth:
            raise ValueError(
                f"the first sixth of {self.name} has {sixth} images: ask for 5 to "
                f"{sixth}, not {count}"
            )
        first, second = order[:sixth], order[sixth : sixth + sixth // 2]
        return (
            self.train_images[_spread(first, count)],
            self.train_images[_spread(second, count // 5)],
        )


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """`count` of the rows, evenly spread, in their order."""
    return rows[np.linspace(0, len(rows) - 1, count).astype(int)]


# --- the front door ---------------------------------------------------------------


def load(name: str) -> Dataset:
    """Load a data set; MNIST is downloaded and a stand-in drawn if necessary.

    Parameters
    ----------
    name : str
        One of `NAMES` or `AUTO`.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the name is unknown, or a file is missing, damaged or not what it should be.
    WriteError
        If the cache cannot be written.
    """
    name = resolve(name)
    if name in DRAWN:
        return _dataset(
            name,
            load_or_draw(name),
            classes=CLASSES[DRAWN[name].kind],
            source="drawn here from the fonts that Matplotlib ships",
        )
    folder = locate(name)
    if folder is None:
        if name != "mnist":
            raise DataError(_absent(name))
        fetch(name)
        folder = locate(name)
    real = REAL[name]
    contents = read_real(real, folder, _remedy(name, folder))
    if real.sorted_test:  # the first so many images would be of few classes
        order = np.random.default_rng(0).permutation(len(contents.arrays[-1]))
        contents.arrays[2:] = [array[order] for array in contents.arrays[2:]]
    kept = "in the cache" if folder == cache_folder() / name else "supplied"
    return _dataset(name, contents, classes=real.classes, source=f"{kept}: {folder}")


def resolve(name: str) -> str:
    """Turn a name that chooses into the name of a data set that can be loaded.

    Parameters
    ----------
    name : str
        One of `NAMES`, which is returned as it is, or of `AUTO`.

    Returns
    -------
    str
        One of `NAMES`. For ``auto-digits``, MNIST has been verified, after a download
        if necessary, or else a warning is logged and the stand-in has been drawn.
        ``auto-letters`` is ``glyph-letters``, which `load` draws.

    Raises
    ------
    DataError
        If the name is unknown, or if files of the real data set are there but
        damaged: they are never replaced by the stand-in.
    WriteError
        If the cache cannot be written.
    """
    if name in NAMES:
        return name
    if name not in AUTO:
        automatic = " or ".join(
            f"{auto} ({' if available, else '.join(choices)})"
            for auto, choices in AUTO.items()
        )
        raise DataError(
            f"there is no data set {name!r}; choose one of {', '.join(NAMES)}, or "
            f"{automatic}"
        )
    *real, stand_in = AUTO[name]
    for choice in real:
        try:
            fetch(choice)
            return choice
        except DownloadError as error:
            logger.warning(
                "%s\n%s: %s is used instead of %s", error, name, stand_in, choice
            )
            fetch(stand_in)
    return stand_in


def fetch(name: str) -> list[Path]:
    """Make sure that the files of a data set are here and sound.

    What is missing or damaged in the cache is downloaded (real data) or drawn
    (stand-ins). Files in ``$CAEBOOK_DATA`` are verified and never changed.

    Parameters
    ----------
    name : str
        One of `NAMES` or `AUTO`.

    Returns
    -------
    list of Path
        The four files.

    Raises
    ------
    DownloadError
        If the network or a server did not deliver.
    DataError
        If a supplied file is not sound.
    WriteError
        If the cache cannot be written.
    """
    name = resolve(name)
    if name in DRAWN:
        return list(load_or_draw(name).checksums)
    place = locate(name)
    if place is not None:
        try:
            return list(verify(name))
        except DataError:
            if place != cache_folder() / name:
                raise
    with locked_cache(name) as folder:
        _download_unsound(name, folder)
    return list(verify(name))


def verify(name: str) -> dict[Path, str]:
    """Read every byte of a data set's files and check them.

    Parameters
    ----------
    name : str
        One of `NAMES` or `AUTO`.

    Returns
    -------
    dict of Path to str
        The four files and the sha256 of their uncompressed bytes. For EMNIST no
        checksums are published: sizes, counts and labels were checked.

    Raises
    ------
    DataError
        If the data set is not here, or a file is not what it should be.
    """
    name = resolve(name)
    if name in DRAWN:
        return read_drawn(name).checksums
    folder = locate(name)
    if folder is None:
        raise DataError(_absent(name))
    return read_real(REAL[name], folder, _remedy(name, folder)).checksums


def read_letters_sample() -> tuple[np.ndarray, np.ndarray] | None:
    """Read the first 10,000 EMNIST Letters test images, if they were supplied.

    They are looked for in ``$CAEBOOK_DATA/emnist-letters-sample/``. The official test
    set is sorted by letter, so the sample ends in the middle of the alphabet.

    Returns
    -------
    (images, labels) or None
        uint8 (10000, 28, 28), upright, and uint8 (10000,), 0-based; None if the folder
        is not there.

    Raises
    ------
    DataError
        If a file is missing or not what it should be.
    """
    root = supplied_root()
    folder = root and root / "emnist-letters-sample"
    if folder is None or not folder.is_dir():
        return None
    stem = "emnist-letters-test-first10000"
    files = (
        IdxFile(f"{stem}-images-idx3-ubyte", (10_000, 28, 28)),
        IdxFile(f"{stem}-labels-idx1-ubyte", (10_000,)),
    )
    sample = replace(REAL["emnist-letters"], files=files)
    images, labels = read_real(
        sample, folder, "replace it with the original file"
    ).arrays
    return images, labels


def _dataset(
    name: str, contents: Contents, classes: tuple[str, ...], source: str
) -> Dataset:
    """Make a data set of what its files hold."""
    return Dataset(
        name,
        *contents.arrays,
        classes=classes,
        source=source,
        sha256=contents.sha256,
        stand_in=name in DRAWN,
    )


def _download_unsound(name: str, folder: Path) -> None:
    """Download what is missing from the cache or damaged there."""
    unsound = unsound_files(folder, REAL[name].files)
    if not unsound:  # another process has downloaded it in the meantime
        return
    damaged = [path for file in unsound if (path := find_file(folder, file))]
    try:
        from caebook.data.download import download_data  # brings pooch

        download_data(name, folder, unsound)
    except DownloadError as error:
        if not damaged:
            raise
        # Not a DownloadError: the stand-in must not replace damaged files silently.
        raise DataError(
            f"{damaged[0]}: damaged, and it could not be downloaded again; remove it, "
            f"or try again later ({error})"
        ) from error


def _remedy(name: str, folder: Path) -> str:
    """Say what to do about a damaged file."""
    if folder == cache_folder() / name:
        return f"run `caebook data fetch {name}` to download it again"
    return f"replace it with the original file, or remove {folder}"


def _absent(name: str) -> str:
    """Say that a real data set is not here, where it was searched and how to get it."""
    archive = REAL[name].archive
    size = f", which downloads {archive.size / 1e6:.0f} MB" if archive else ""
    return (
        f"{not_here(name)}; put its four files into $CAEBOOK_DATA/{name}/, or run "
        f"`caebook data fetch {name}`{size}"
    )
