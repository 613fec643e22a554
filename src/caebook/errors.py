"""The errors that this package raises, all of one family.

Each message says what was wrong, where, and what to do.
"""


class CaebookError(Exception):
    """What every error of this package derives from."""


class WriteError(CaebookError):
    """A file or folder cannot be written; what was there before is unharmed."""


class DataError(CaebookError):
    """A data set, or an image file, is missing, damaged or not what it should be."""


class DownloadError(DataError):
    """The network or a server did not deliver; the files that are here are sound."""


class CheckpointError(CaebookError):
    """A checkpoint cannot be read."""


class RunError(CaebookError):
    """A run cannot be saved, found or read."""


class FindingError(CaebookError):
    """A finding cannot be recorded, found or read."""


class CodecError(CaebookError):
    """Something cannot be compressed or decompressed."""


class CorruptFile(CodecError):
    """A file or stream is damaged, or not what it claims to be."""


class BuildError(CaebookError):
    """The book cannot be built."""


class ChapterError(BuildError):
    """A chapter cannot be read, executed or published."""
