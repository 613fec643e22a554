"""The package as `pip install` brings it: light, and complete without the checkout."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny

from caebook.files import root

HEAVY = {
    "keras",
    "tensorflow",
    "torch",
    "onnx",
    "matplotlib",
    "scipy",
    "sewar",
    "triton",
}


def run(*command: str | Path, **options) -> str:
    """Run a command outside the checkout and without its environment; its output."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("CAEBOOK", "PYTHON"))
    }
    result = subprocess.run(
        command, env=kept, capture_output=True, text=True, **options
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    result = subprocess.run(
        [*build, "--wheel-dir", folder, root()], capture_output=True, text=True
    )
    if result.returncode:
        needed(f"the wheel cannot be built: {result.stderr[-500:]}")
    return next(folder.glob("caebook-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The ``bin`` of a new environment that holds the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("clean") / "environment"
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    locked = root() / "requirements.lock"
    result = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "-c", locked, wheel],
        capture_output=True,
        text=True,
    )
    if result.returncode:
        needed(f"the wheel cannot be installed: {result.stderr[-500:]}")
    return python.parent


def needed(reason: str) -> None:
    """Skip without a package index; fail in CI, which always has one."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def test_the_wheel_holds_the_default_model_and_nothing_of_the_book(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("code16-keras-mnist-s0/decoder.onnx") for name in names)
    assert not [name for name in names if name.endswith((".ipynb", ".bib"))]
    assert wheel.stat().st_size < 1_000_000


def test_the_core_brings_no_framework(installed):
    found = run(installed / "python", "-m", "pip", "list", "--format", "freeze")
    assert not {line.partition("==")[0].lower() for line in found.split()} & HEAVY


def test_extras_name_what_the_core_leaves_out():
    project = tomllib.loads((root() / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == {"train", "book", "cluster", "test"}


def test_the_installed_command_compresses_and_decompresses(installed, tmp_path):
    images = tiny.images(30)
    np.save(tmp_path / "images.npy", images)
    caebook = installed / "caebook"
    run(caebook, "compress", "images.npy", cwd=tmp_path)
    assert "30" in run(caebook, "info", "images.cae", cwd=tmp_path)
    run(caebook, "decompress", "images.cae", "-o", "again.npy", cwd=tmp_path)
    assert np.load(tmp_path / "again.npy").shape == images.shape
    assert (tmp_path / "images.cae").stat().st_size < 30 * 16
