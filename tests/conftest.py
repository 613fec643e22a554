"""Fixtures that several test modules share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caebook.profiles import root


@pytest.fixture(scope="session")
def smoke_book() -> Path:
    """Folder of the book built under the smoke profile; built now if it is not yet."""
    command = [sys.executable, "-m", "caebook.build", "smoke"]
    result = subprocess.run(command, cwd=root(), capture_output=True, text=True)
    if result.returncode:
        pytest.fail(f"the smoke book does not build:\n{(result.stdout + result.stderr)[-5000:]}")
    return root() / "build" / "smoke"


@pytest.fixture(scope="session")
def site(smoke_book: Path) -> Path:
    """Folder of the built site: ``$CAEBOOK_SITE``, or else the smoke book's."""
    return Path(os.environ.get("CAEBOOK_SITE") or smoke_book / "html")
