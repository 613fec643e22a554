"""Data sets as uint8 arrays, with where they came from and a checksum.

Four data sets have a name: ``mnist``, ``emnist-letters`` and two stand-ins that are
drawn here, ``glyph-digits`` and ``glyph-letters`` (see `caebook.data.glyphs`). Two more
names choose: ``auto-digits`` and ``auto-letters`` mean the real one if it can be had,
else the stand-in.

Files are looked for in ``$CAEBOOK_DATA/<name>/``, then in the cache
(``$CAEBOOK_CACHE``, or the user's own cache folder); MNIST is then downloaded from
public mirrors. EMNIST is one large archive and is only downloaded on request, by
``caebook data fetch emnist-letters``.

`caebook.data.idx` reads and checks single files, and `caebook.data.fetch` gets them
from the web; here is which files there are, where they are kept and what they hold.

Everything that can be wrong with the data raises `DataError`, whose message says what
is wrong, with which file, and what to do. A file gets its final name only when it is
complete and checked.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import filelock
import numpy as np
import platformdirs
from PIL import features

from caebook.data import glyphs
from caebook.data.fetch import CONNECT_SECONDS, answering, download_file, writing
from caebook.data.idx import IdxFile, find_idx, idx_sha256, read_idx
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


# --- what there is ----------------------------------------------------------------


@dataclass(frozen=True)
class _Collection:
    """The files of a real data set, and how to read them."""

    files: tuple[IdxFile, ...]  # images, labels; of training, then of testing
    classes: tuple[str, ...]
    first_label: int = 0
    transposed: bool = False
    sorted_test: bool = False  # by class: the first so many would be of few classes


@dataclass(frozen=True)
class _Archive:
    """A zip file on the web that holds a data set's files, among others."""

    url: str
    size: int  # bytes
    md5: str


_COLLECTIONS = {
    "mnist": _Collection(
        (
            IdxFile(
                "train-images-idx3-ubyte",
                (60_000, 28, 28),
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ),
            IdxFile(
                "train-labels-idx1-ubyte",
                (60_000,),
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
            IdxFile(
                "t10k-images-idx3-ubyte",
                (10_000, 28, 28),
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ),
            IdxFile(
                "t10k-labels-idx1-ubyte",
                (10_000,),
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
        glyphs.CLASSES["digits"],
    ),
    # No checksums of the single files are published: counts and labels are checked,
    # and the md5 of the archive when it is downloaded.
    "emnist-letters": _Collection(
        (
            IdxFile("emnist-letters-train-images-idx3-ubyte", (124_800, 28, 28)),
            IdxFile("emnist-letters-train-labels-idx1-ubyte", (124_800,)),
            IdxFile("emnist-letters-test-images-idx3-ubyte", (20_800, 28, 28)),
            IdxFile("emnist-letters-test-labels-idx1-ubyte", (20_800,)),
        ),
        glyphs.CLASSES["letters"],
        first_label=1,
        transposed=True,
        sorted_test=True,
    ),
}

_GLYPHS: dict[str, Literal["digits", "letters"]] = {
    "glyph-digits": "digits",
    "glyph-letters": "letters",
}
_GLYPH_COUNTS = (60_000, 10_000)  # training, test
_RECORD = "drawn.json"  # what a drawn data set consists of, beside its files

#: What `load` knows by name.
NAMES = (*_COLLECTIONS, *_GLYPHS)

#: The names that choose: the real data set, and what stands in for it.
AUTO = {
    "auto-digits": ("mnist", "glyph-digits"),
    "auto-letters": ("emnist-letters", "glyph-letters"),
}

_MNIST_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
_EMNIST_ARCHIVE = _Archive(
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    561_753_746,
    "58c8d27c78d21e728a6bc7b3cc06412e",
)

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
        True if the images were drawn by `caebook.data.glyphs`.
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


# --- the front door ---------------------------------------------------------------


def load(name: str) -> Dataset:
    """Load a data set; MNIST is downloaded and a stand-in drawn if need be.

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
        If the name is unknown, a file is missing, damaged or not what it should be,
        or the cache cannot be written.
    """
    name = resolve(name)
    if name in _GLYPHS:
        return _load_glyphs(name)
    if locate(name) is None:
        if name != "mnist":
            raise DataError(_absent(name))
        fetch(name)
    return _load_collection(name)


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
        if need be, or else the stand-in has been drawn. ``auto-letters`` downloads
        nothing.

    Raises
    ------
    DataError
        If the name is unknown, or if files of the real data set are there but
        damaged: the stand-in never covers up for those.
    """
    if name in NAMES:
        return name
    if name not in AUTO:
        raise DataError(
            f"there is no data set {name!r}; choose one of {', '.join(NAMES)}, or "
            f"{' or '.join(AUTO)} for the real one if it can be had, else a stand-in"
        )
    real, stand_in = AUTO[name]
    try:
        if real == "mnist":
            fetch(real)
        elif locate(real) is not None:
            verify(real)
        else:
            raise DownloadError(_absent(real))
    except DownloadError as error:
        _say(f"{error}\n{name}: {stand_in} stands in for {real}")
        fetch(stand_in)
        return stand_in
    return real


def fetch(name: str) -> list[Path]:
    """Make sure that the files of a data set are here and sound.

    What is missing or damaged in the cache is downloaded (real data) or drawn
    (stand-ins). Files in ``$CAEBOOK_DATA`` are verified and never touched.

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
        If a supplied file is not sound, or the cache cannot be written.
    """
    name = resolve(name)
    if name in _GLYPHS:
        _load_glyphs(name)
        folder = cache_folder() / name
        return [folder / file.name for file in _glyph_files()]
    place = locate(name)
    if place is not None:
        try:
            return list(verify(name))
        except DataError:
            if place != cache_folder() / name:
                raise
    with _locked(name) as folder:
        unsound = _unsound(name, folder)  # another process may have been here
        damaged = [path for file in unsound if (path := find_idx(folder, file))]
        try:
            if unsound and name == "mnist":
                _fetch_mnist(folder, unsound)
            elif unsound:
                _fetch_emnist(folder)
        except DownloadError as error:
            if damaged:  # no stand-in may cover this up
                raise DataError(
                    f"{damaged[0]}: damaged, and it could not be fetched anew; remove "
                    f"it, or try again later ({error})"
                ) from error
            raise
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
    place = locate(name)
    if place is None:
        raise DataError(_absent(name))
    if name in _GLYPHS:
        return _read_glyphs(name).checksums
    remedy = _remedy(name, place)
    return _read_collection(_COLLECTIONS[name], place, remedy).checksums


def locate(name: str) -> Path | None:
    """Find the folder that holds a data set's files, without reading them.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Returns
    -------
    Path or None
        ``$CAEBOOK_DATA/<name>`` if there is such a folder, else the folder in the
        cache if it is complete, else None.

    Raises
    ------
    DataError
        If ``$CAEBOOK_DATA`` is not a folder, or its folder for `name` is incomplete.
    """
    cached = cache_folder() / name
    if name in _GLYPHS:
        return cached if cached.is_dir() else None
    files = _COLLECTIONS[name].files
    supplied = _supplied_folder(name)
    if supplied is not None:
        absent = [file.name for file in files if find_idx(supplied, file) is None]
        if absent:
            raise DataError(
                f"{supplied}: {', '.join(absent)} missing; put the file there (raw or "
                f"gzipped), or remove the folder to have {name} looked for elsewhere"
            )
        return supplied
    if all(find_idx(cached, file) for file in files):
        return cached
    return None


def cache_folder() -> Path:
    """Return where downloads and drawn data are kept; it need not exist yet.

    Returns
    -------
    Path
        ``$CAEBOOK_CACHE`` if that is set, else the user's cache folder for caebook.
    """
    chosen = os.environ.get("CAEBOOK_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("caebook")


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
    folder = _supplied_folder("emnist-letters-sample")
    if folder is None:
        return None
    stem = "emnist-letters-test-first10000"
    files = (
        IdxFile(f"{stem}-images-idx3-ubyte", (10_000, 28, 28)),
        IdxFile(f"{stem}-labels-idx1-ubyte", (10_000,)),
    )
    sample = replace(_COLLECTIONS["emnist-letters"], files=files)
    images, labels = _read_collection(
        sample, folder, "replace it with the original file"
    ).arrays
    return images, labels


def _supplied_folder(name: str) -> Path | None:
    """Return ``$CAEBOOK_DATA/<name>`` if there is such a folder."""
    root = os.environ.get("CAEBOOK_DATA")
    if not root:
        return None
    path = Path(root).expanduser().absolute()
    if not path.is_dir():
        raise DataError(
            f"{path}: CAEBOOK_DATA names it, but there is no such folder; correct "
            "the variable or unset it"
        )
    return path / name if (path / name).is_dir() else None


def _say(message: str) -> None:
    """Tell the user something on standard error, where it disturbs no output."""
    print(message, file=sys.stderr, flush=True)


# --- real data sets ---------------------------------------------------------------


@dataclass(frozen=True)
class _Contents:
    """What the four files of a data set hold, and their checksums."""

    arrays: list[np.ndarray]
    checksums: dict[Path, str]  # of each file's uncompressed bytes
    sha256: str  # of all of them


def _read_files(folder: Path, files: Sequence[IdxFile], remedy: str) -> _Contents:
    """Read and check the files of a data set."""
    paths = [find_idx(folder, file) or folder / file.name for file in files]
    arrays = [
        read_idx(path, file, remedy=remedy)
        for path, file in zip(paths, files, strict=True)
    ]
    # What has a checksum was just found to match it.
    checksums = {
        path: file.sha256 or idx_sha256(array)
        for path, file, array in zip(paths, files, arrays, strict=True)
    }
    return _Contents(arrays, checksums, idx_sha256(*arrays))


def _read_collection(collection: _Collection, folder: Path, remedy: str) -> _Contents:
    """Read real data: upright images and 0-based labels."""
    contents = _read_files(folder, collection.files, remedy)
    paths, arrays = list(contents.checksums), contents.arrays
    for images in range(0, len(arrays), 2):
        labels = images + 1
        if collection.transposed:
            # EMNIST's images are stored column by column.
            arrays[images] = np.ascontiguousarray(arrays[images].transpose(0, 2, 1))
        arrays[labels] = _zero_based(arrays[labels], paths[labels], collection)
    return contents


def _load_collection(name: str) -> Dataset:
    """Load a real data set whose files are here."""
    folder = locate(name)
    contents = _read_collection(_COLLECTIONS[name], folder, _remedy(name, folder))
    if _COLLECTIONS[name].sorted_test:
        order = np.random.default_rng(0).permutation(len(contents.arrays[-1]))
        contents.arrays[2:] = [array[order] for array in contents.arrays[2:]]
    kept = "in the cache" if folder == cache_folder() / name else "supplied"
    return Dataset(
        name,
        *contents.arrays,
        classes=_COLLECTIONS[name].classes,
        source=f"{kept}: {folder}",
        sha256=contents.sha256,
        stand_in=False,
    )


def _remedy(name: str, folder: Path) -> str:
    """Say what to do about a damaged file."""
    if folder == cache_folder() / name:
        return f"run `caebook data fetch {name}` to get it anew"
    return f"replace it with the original file, or remove {folder}"


def _absent(name: str) -> str:
    """Say that a data set is not here, and how it can be had."""
    if name == "emnist-letters":
        return (
            f"emnist-letters is not here: put its four IDX files into "
            f"$CAEBOOK_DATA/{name}/, or run `caebook data fetch {name}`, which "
            f"downloads {_EMNIST_ARCHIVE.size / 1e6:.0f} MB"
        )
    return f"{name} is not here; run `caebook data fetch {name}` to get it"


def _zero_based(labels: np.ndarray, path: Path, collection: _Collection) -> np.ndarray:
    """Check the range of labels, and count them from 0."""
    first, last = collection.first_label, len(collection.classes) - 1
    last += first
    if labels.min() < first or labels.max() > last:
        raise DataError(
            f"{path}: labels run from {labels.min()} to {labels.max()}, expected "
            f"{first} to {last}; replace it with the original file"
        )
    return labels - np.uint8(first)


def _unsound(name: str, folder: Path) -> list[IdxFile]:
    """List the files that are missing from the cache or damaged there."""
    unsound = []
    for file in _COLLECTIONS[name].files:
        path = find_idx(folder, file)
        if path is None:
            unsound.append(file)
            continue
        try:
            read_idx(path, file, remedy="fetching it anew")
        except DataError as error:
            _say(str(error))
            unsound.append(file)
    return unsound


# --- writing ----------------------------------------------------------------------


@contextmanager
def _locked(name: str) -> Iterator[Path]:
    """Keep other processes from writing the same data set to the cache.

    Yields
    ------
    Path
        The data set's folder in the cache; its parent exists.
    """
    cache = cache_folder()
    path = cache / f"{name}.lock"
    lock = filelock.FileLock(path)
    with writing(path):
        cache.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield cache / name
    finally:
        lock.release()


def _write_synced(path: Path, *parts: bytes | np.ndarray) -> None:
    """Write a file and wait until it has reached the disk."""
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


# --- downloads --------------------------------------------------------------------


def _fetch_mnist(folder: Path, files: list[IdxFile]) -> None:
    """Download some of MNIST's files into the cache."""
    mirrors = answering(_MNIST_MIRRORS, files[0].name + ".gz")
    if not mirrors:
        raise DownloadError(
            f"mnist cannot be downloaded: no answer from {' or '.join(_MNIST_MIRRORS)} "
            f"within {CONNECT_SECONDS:.0f} s; connect to the network, or put the four "
            "files into $CAEBOOK_DATA/mnist/"
        )
    with writing(folder):
        folder.mkdir(exist_ok=True)
    for file in files:
        target, damaged = folder / f"{file.name}.gz", find_idx(folder, file)
        # However badly a gzip file packs, it is hardly longer than what is in it.
        limit = len(file.header) + int(np.prod(file.shape)) + 65_536
        download_file(
            [f"{mirror}{file.name}.gz" for mirror in mirrors],
            target,
            limit,
            lambda path, file=file: read_idx(path, file),
        )
        if damaged not in (None, target):  # it went by another name
            damaged.unlink()


def _fetch_emnist(folder: Path) -> None:
    """Download EMNIST's archive into the cache and keep the letters."""
    wanted = _EMNIST_ARCHIVE
    with writing(folder):
        folder.mkdir(exist_ok=True)
    archive = folder / "gzip.zip"
    if not archive.exists():
        _say(
            f"emnist-letters: downloading {wanted.url}, {wanted.size / 1e6:.0f} MB; "
            "interrupt it whenever you like, it resumes"
        )
        download_file([wanted.url], archive, wanted.size, _check_archive)
    # Kept until the letters are out, so that a full disk does not cost a download.
    files = _COLLECTIONS["emnist-letters"].files
    try:
        with zipfile.ZipFile(archive) as members:
            for file in files:
                _extract(members, f"gzip/{file.name}.gz", folder, file)
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        archive.unlink()
        raise DataError(
            f"{archive}: damaged, and removed ({error}); run `caebook data fetch "
            "emnist-letters` again"
        ) from error
    archive.unlink()


def _extract(
    members: zipfile.ZipFile, member: str, folder: Path, file: IdxFile
) -> None:
    """Copy one member out of an archive, check it, and give it its name."""
    target = folder / f"{file.name}.gz"
    part = folder / f"{target.name}.part"
    try:
        with members.open(member) as source, writing(part), part.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        read_idx(part, file)
        with writing(target):
            os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _check_archive(path: Path) -> None:
    """Check the md5 of EMNIST's archive."""
    md5 = partial(hashlib.md5, usedforsecurity=False)  # the only one that is published
    with path.open("rb") as file:
        found = hashlib.file_digest(file, md5).hexdigest()
    if found != _EMNIST_ARCHIVE.md5:
        raise DataError(
            f"checksum mismatch: md5 is {found}, expected {_EMNIST_ARCHIVE.md5}"
        )


# --- the stand-ins ----------------------------------------------------------------


def _load_glyphs(name: str) -> Dataset:
    """Load a stand-in from the cache; draw it if it is not there or not sound."""
    contents = _sound_glyphs(name)
    if contents is None:
        with _locked(name) as folder:
            contents = _sound_glyphs(name, quiet=True)
            if contents is None:
                _draw_glyphs(name, folder)
                contents = _read_glyphs(name)
    return Dataset(
        name,
        *contents.arrays,
        classes=glyphs.CLASSES[_GLYPHS[name]],
        source="drawn here from the fonts that Matplotlib ships",
        sha256=contents.sha256,
        stand_in=True,
    )


def _sound_glyphs(name: str, quiet: bool = False) -> _Contents | None:
    """Read a stand-in from the cache, or say why it has to be drawn."""
    if not (cache_folder() / name).is_dir():
        return None
    try:
        return _read_glyphs(name)
    except DataError as error:
        if not quiet:
            _say(f"{error}. It is drawn anew now.")
        return None


def _read_glyphs(name: str) -> _Contents:
    """Read a stand-in from the cache, checked against what was recorded with it."""
    folder = cache_folder() / name
    remedy = f"run `caebook data fetch {name}` to draw it anew"
    record = folder / _RECORD
    try:
        drawn = json.loads(record.read_text("utf-8"))
        recipe, checksums = drawn["recipe"], dict(drawn["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{record}: missing or damaged; {remedy}") from error
    if recipe != _glyph_recipe():
        raise DataError(f"{folder}: drawn by other versions of the software; {remedy}")
    files = [
        replace(file, sha256=checksums.get(file.name, "not recorded"))
        for file in _glyph_files()
    ]
    return _read_files(folder, files, remedy)


def _draw_glyphs(name: str, folder: Path) -> None:
    """Draw a stand-in and put it into the cache in one step."""
    for leftover in folder.parent.glob(f".{name}-*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    staging = folder.with_name(f".{name}-{os.getpid()}")
    with writing(folder):
        staging.mkdir()  # before the work, so that a read-only cache shows at once
    try:
        train, test = _GLYPH_COUNTS
        arrays = glyphs.draw(_GLYPHS[name], 0, train, test, progress=True)
        checksums = {}
        for file, array in zip(_glyph_files(), arrays, strict=True):
            with writing(folder / file.name):
                _write_synced(staging / file.name, file.header, array)
            checksums[file.name] = idx_sha256(array)
        record = {"recipe": _glyph_recipe(), "sha256": checksums}
        with writing(folder / _RECORD):
            text = json.dumps(record, indent=2) + "\n"
            _write_synced(staging / _RECORD, text.encode())
        with writing(folder):
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _glyph_files() -> list[IdxFile]:
    """List a stand-in's files: MNIST's names, own lengths, no checksums yet."""
    train, test = _GLYPH_COUNTS
    return [
        IdxFile(file.name, (count, *file.shape[1:]))
        for file, count in zip(
            _COLLECTIONS["mnist"].files, (train, train, test, test), strict=True
        )
    ]


def _glyph_recipe() -> dict[str, object]:
    """Return all that decides which bytes a stand-in consists of."""
    packages = ("matplotlib", "numpy", "pillow", "scikit-image", "scipy")
    return {
        "drawing": glyphs.VERSION,
        "seed": 0,
        "images": list(_GLYPH_COUNTS),
        "freetype": features.version("freetype2"),
        **{name: importlib.metadata.version(name) for name in packages},
    }
