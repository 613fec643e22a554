"""Where results come from: the commit, versions of packages, the machine, the time."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata

from caebook.files import root


def git_version() -> str | None:
    """Commit of the checkout, ``-dirty`` if files changed; None outside a checkout.

    New runs under ``reference/`` do not count as changes: one training follows another.
    Where git cannot tell, the checkout counts as changed.
    """
    if not (root() / ".git").exists():  # a repository further up is not this project
        return None
    commit = _git("describe", "--always", "--abbrev=12")
    if commit is None or not commit.stdout.strip():
        return None
    runs = ":(exclude)reference/*/*"
    changed = _git("diff", "--quiet", "HEAD", "--", ".", runs)
    clean = changed is not None and changed.returncode == 0
    return commit.stdout.strip() + "-dirty" * (not clean)


def _git(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    """The result of a git command in the checkout; None if git cannot be run."""
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=root(),
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of `packages`; those not installed are left out."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Operating system and processor architecture, without the machine's name."""
    return f"{platform.system()} {platform.machine()}"


def now() -> str:
    """The time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
