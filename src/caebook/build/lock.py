"""One build at a time in a build folder, and nothing left behind by an earlier one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock
import psutil

from caebook.build import cluster
from caebook.errors import BuildError
from caebook.files import locked


@contextlib.contextmanager
def only_build(folder: Path) -> Iterator[None]:
    """Hold the build folder; kill jobs that an earlier build left at work there.

    Raises
    ------
    BuildError
        If another build holds the folder, or jobs that an earlier one submitted to a
        cluster cannot be cancelled.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(folder / ".lock", timeout=0))
        except filelock.Timeout:
            raise BuildError(
                f"another build is at work in {folder}; wait for it, or stop it"
            ) from None
        _clear(folder)
        held.callback(_clear_at_last, folder)
        yield


def _clear(folder: Path) -> None:
    """Kill the jobs and kernels of a build here, and remove their unfinished files.

    A job that outlives a killed build would write into the folder of the next one. Jobs
    are known by the build folder's name in their environment, a cluster's jobs by its
    profile.
    """
    while leftovers := [p for p in psutil.process_iter() if _works_for(p, folder)]:
        for process in leftovers:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(leftovers, timeout=5)
    cluster.stop(folder)  # now that nothing submits any more
    for pattern in (".work-*", ".site-*", ".html-*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _clear_at_last(folder: Path) -> None:
    """Clear after a build; if a cluster's jobs stay, the next build tries again."""
    with contextlib.suppress(BuildError):
        _clear(folder)


def _works_for(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get("CAEBOOK_BUILD") == str(folder)
    except (psutil.Error, OSError):  # another user's, or gone
        return False
