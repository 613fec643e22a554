"""Fixtures that several test modules share."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from caebook.files import root

# One thread for each library: with more, their pools spend most of the processor's time
# waiting for each other. Set before NumPy, PyTorch or TensorFlow is imported.
for variable in (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
):
    os.environ.setdefault(variable, "1")


# What started the tests may ignore these signals, as nohup and background jobs do. A
# child process would inherit that, and no test could stop it.
for number, usual in {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGHUP: signal.SIG_DFL,
}.items():
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture(scope="session")
def smoke_book() -> Path:
    """Folder of the book built under the smoke profile; built now if it is not yet."""
    command = [sys.executable, "-m", "caebook.build", "smoke"]
    # Kernels that believe to be under test leave what libraries print uncaptured.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    result = subprocess.run(
        command, cwd=root(), env=environment, capture_output=True, text=True
    )
    if result.returncode:
        output = result.stdout + result.stderr
        pytest.fail(f"the smoke book does not build:\n{output[-5000:]}")
    return root() / "build" / "smoke"
