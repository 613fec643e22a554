"""Running the build's jobs on a cluster, by a profile: a folder such as cluster/slurm.

A profile holds ``config.yaml``, Snakemake's options for the cluster's scheduler, and a
program ``stop``: ``stop FOLDER`` cancels all jobs of the build in a folder and returns
when none is left. Other programs in the profile are on the PATH of Snakemake.

Each job runs Snakemake once more, on its node, for that job alone. It reads the same
Snakefile and ``jobs.json``, and writes what the job prints to ``logs/`` in the build's
folder: lines of progress to ``NAME.txt``, which `submitting` shows, errors to
``NAME.err``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from caebook.build.polling import polling
from caebook.errors import BuildError
from caebook.files import write_text

# What a job needs of the environment that the build was started in, besides CAEBOOK_….
# Slurm passes on all variables; other schedulers pass on those that Snakemake names.
_PASSED = (
    "GITHUB_REPOSITORY", "GITHUB_SERVER_URL", "HOME", "LANG", "PYTHONPATH",
    "XDG_CACHE_HOME",
)  # fmt: skip
_POLL = 0.5  # s between two looks at the logs


def check(profile: Path) -> Path:
    """The profile's absolute path.

    Raises
    ------
    BuildError
        If it is incomplete, Snakemake lacks its plugin, or jobs cannot start Python.
    """
    profile = profile.absolute()
    if not (profile / "config.yaml").is_file() or not os.access(
        profile / "stop", os.X_OK
    ):
        raise BuildError(
            f"{profile} is not a cluster profile: it needs the file config.yaml and "
            "the program stop; cluster/slurm and cluster/local are complete ones"
        )
    executor = str(_config(profile).get("executor", ""))
    plugin = f"snakemake_executor_plugin_{executor.replace('-', '_')}"
    if executor and not importlib.util.find_spec(plugin):
        raise BuildError(
            f"{profile} needs Snakemake's plugin {executor}: "
            ".venv/bin/python -m pip install -c requirements.lock -e '.[cluster]'"
        )
    if shlex.quote(sys.executable) != sys.executable:
        raise BuildError(
            f"jobs on a cluster cannot start {sys.executable}, because Snakemake does "
            "not quote it; use a path without spaces"
        )
    return profile


def _config(profile: Path) -> dict:
    try:
        return yaml.safe_load((profile / "config.yaml").read_text()) or {}
    except yaml.YAMLError as error:
        raise BuildError(f"{profile}/config.yaml is not valid: {error}") from error


def options(profile: Path, jobs: int | None, variables: Iterable[str]) -> list[str]:
    """Options that make Snakemake submit its jobs by a profile.

    Parameters
    ----------
    jobs : how many at most are with the scheduler at a time, in place of the profile's
    variables : names of all in Snakemake's environment
    """
    passed = [
        name
        for name in sorted(variables)
        if name in _PASSED or name.startswith("CAEBOOK_")
    ]
    return [
        "--workflow-profile", str(profile),
        *(["--jobs", str(jobs)] if jobs else []),
        "--envvars", *passed,
        "--show-failed-logs",  # in snakemake.log: a traceback, say
    ]  # fmt: skip


def environment(profile: Path, usual: dict[str, str]) -> dict[str, str]:
    """The environment of a Snakemake that submits jobs, from that of any other."""
    return usual | {
        "CAEBOOK_CLUSTER": str(profile),  # for the Snakefile
        "PATH": os.pathsep.join([str(profile), usual.get("PATH", os.defpath)]),
    }


def stop(folder: Path) -> None:
    """Cancel all jobs that a build in a folder, maybe a killed one, has submitted.

    Raises
    ------
    BuildError
        If the profile's program fails, so that jobs may still be at work.
    """
    note = _note(folder)
    if not note.is_file():
        return
    program = Path(note.read_text().strip()) / "stop"
    try:
        subprocess.run(
            [program, folder], check=True, capture_output=True, text=True, cwd=folder
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or error
        raise BuildError(
            f"an earlier build in {folder} submitted jobs, and {program} could not "
            f"cancel them: {str(said).strip()}\nRun this where that works, or cancel "
            f"them yourself and remove {note}"
        ) from error
    note.unlink()


def _note(folder: Path) -> Path:
    return folder / "cluster" / "profile"


@contextlib.contextmanager
def submitting(profile: Path, folder: Path) -> Iterator[None]:
    """Show the progress of jobs that Snakemake submits for the build in `folder`.

    The profile is noted there, for `stop`. Logs of an earlier build are removed.
    """
    note, logs = _note(folder), folder / "logs"
    for old in (note.parent, logs):
        shutil.rmtree(old, ignore_errors=True)
    logs.mkdir()
    write_text(note, f"{profile}\n")
    printed: dict[Path, int] = {}  # bytes of each file
    with polling(lambda: _show_new(logs, printed), _POLL):
        yield


def _show_new(logs: Path, printed: dict[Path, int]) -> None:
    """Print the lines that were added to the logs since the last call."""
    for path in sorted(logs.glob("*.txt")):
        try:
            with open(path, "rb") as file:
                file.seek(printed.get(path, 0))
                lines, newline, _ = file.read().rpartition(b"\n")
        except OSError:  # a shared file system's; try again
            continue
        if newline:
            printed[path] = printed.get(path, 0) + len(lines) + 1
            print(lines.decode(errors="replace"), flush=True)
