"""Which data sets exist: their files, checksums and classes, and where to get them.

These are plain facts. This module imports nothing heavy, so that a command can list the
names of the data sets at once.
"""

from __future__ import annotations

import string
import struct
from dataclasses import dataclass
from typing import Literal

Kind = Literal["digits", "letters"]

#: Class names by kind; a letter's class holds its upper and its lower case.
CLASSES: dict[Kind, tuple[str, ...]] = {
    "digits": tuple(string.digits),
    "letters": tuple(string.ascii_uppercase),
}


@dataclass(frozen=True)
class IdxFile:
    """What one IDX file of uint8 values has to be.

    Attributes
    ----------
    name : str
        Official file name, without ".gz".
    shape : tuple of int
        (N, 28, 28) for images, (N,) for labels.
    sha256 : str or None
        Of the uncompressed bytes, header included; None where none is published.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str | None = None

    @property
    def header(self) -> bytes:
        """The file's first bytes: type (8 is uint8), number and lengths of axes."""
        return struct.pack(
            f">HBB{len(self.shape)}I", 0, 8, len(self.shape), *self.shape
        )


@dataclass(frozen=True)
class Archive:
    """A zip file on the web that holds a data set's files, among others."""

    url: str
    size: int  # bytes
    md5: str


@dataclass(frozen=True)
class RealData:
    """The files of a real data set, how to read them and where to download them.

    Attributes
    ----------
    files : tuple of IdxFile
        Training images, training labels, test images, test labels.
    classes : tuple of str
        Class names; the first one has the label `first_label` in the files.
    torchvision : str
        The folder that torchvision gives the data set; the files are in its ``raw/``.
    mirrors : tuple of str
        Addresses that hold the files, gzipped; they are tried in this order.
    archive : Archive or None
        The one archive that holds the files, if they have no mirrors.
    first_label : int
        0 or 1.
    transposed : bool
        True if the images are stored column by column.
    sorted_test : bool
        True if the test images are sorted by class.
    """

    files: tuple[IdxFile, ...]
    classes: tuple[str, ...]
    torchvision: str
    mirrors: tuple[str, ...] = ()
    archive: Archive | None = None
    first_label: int = 0
    transposed: bool = False
    sorted_test: bool = False


@dataclass(frozen=True)
class DrawnData:
    """A stand-in that `caebook.data.glyphs` draws.

    Attributes
    ----------
    kind : {"digits", "letters"}
    train, test : int
        How many images there are for training and for testing.
    version : int
        Raise it whenever `caebook.data.glyphs` draws other bytes than before: what
        is in a cache is drawn again then.
    """

    kind: Kind
    train: int = 60_000
    test: int = 10_000
    version: int = 1

    @property
    def files(self) -> tuple[IdxFile, ...]:
        """Its files under MNIST's names, without checksums."""
        counts = (self.train, self.train, self.test, self.test)
        return tuple(
            IdxFile(file.name, (count, *file.shape[1:]))
            for file, count in zip(REAL["mnist"].files, counts, strict=True)
        )


REAL = {
    "mnist": RealData(
        files=(
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
        classes=CLASSES["digits"],
        torchvision="MNIST",
        mirrors=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
    ),
    # No checksums of the single files are published: counts and labels are checked,
    # and the md5 of the archive when it is downloaded.
    "emnist-letters": RealData(
        files=(
            IdxFile("emnist-letters-train-images-idx3-ubyte", (124_800, 28, 28)),
            IdxFile("emnist-letters-train-labels-idx1-ubyte", (124_800,)),
            IdxFile("emnist-letters-test-images-idx3-ubyte", (20_800, 28, 28)),
            IdxFile("emnist-letters-test-labels-idx1-ubyte", (20_800,)),
        ),
        classes=CLASSES["letters"],
        torchvision="EMNIST",
        archive=Archive(
            "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
            561_753_746,
            "58c8d27c78d21e728a6bc7b3cc06412e",
        ),
        first_label=1,
        transposed=True,
        sorted_test=True,
    ),
}

DRAWN = {
    "glyph-digits": DrawnData("digits"),
    "glyph-letters": DrawnData("letters"),
}

#: The data sets that can be loaded.
NAMES = (*REAL, *DRAWN)

#: Names that choose: the first of these data sets that is available. The book's letters
#: are the drawn ones; EMNIST is used only when asked for by its own name.
AUTO = {
    "auto-digits": ("mnist", "glyph-digits"),
    "auto-letters": ("glyph-letters",),
}
