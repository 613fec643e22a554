"""All errors that this package raises, with one base.

Each message says what was wrong, where, and what to do.
"""


class CaebookError(Exception):
    """Base of every error of this package."""


class WriteError(CaebookError):
    """A file or folder cannot be written; what was there before is unchanged."""


class DataError(CaebookError):
    """A data set or an image file is missing, damaged or of another kind."""


class DownloadError(DataError):
    """A download failed; the files on this machine are intact."""


class FrameworkError(CaebookError):
    """A framework was set up in a way in which the chapters do not work."""


class CheckpointError(CaebookError):
    """A checkpoint cannot be read."""


class RunError(CaebookError):
    """A run cannot be saved, found or read."""


class FindingError(CaebookError):
    """A finding cannot be recorded, found or read."""


class CodecError(CaebookError):
    """Something cannot be compressed or decompressed."""


class CorruptFile(CodecError):
    """A file or stream is damaged or invalid."""


class BuildError(CaebookError):
    """The book cannot be built."""


class ChapterError(BuildError):
    """A chapter cannot be read, executed or published."""


class PlanError(BuildError):
    """The plan of reference runs is invalid, or a run is not what it says."""


class ClaimError(CaebookError):
    """A claim cannot be read, or was not measured as it must be."""
