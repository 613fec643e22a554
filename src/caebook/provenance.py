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
    """Commit of the checkout, ``-dirty`` if files changed; None outside a checkout."""
    if not (root() / ".git").exists():  # a repository further up is not this project
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        result = subprocess.run(
            command,
            cwd=root(),
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


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
