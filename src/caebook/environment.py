"""What must be set in the environment before NumPy or a framework is imported.

A build sets the threads of its jobs itself. A chapter that is opened by hand gets as
many as this process may use: a container's share of a large machine, for example.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")

#: Variables that size a pool of threads: OpenMP (PyTorch; ONNX Runtime by
#: `caebook.runs.inference`), MKL, NumPy's and SciPy's OpenBLAS, TensorFlow.
POOLS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


#: What the chapters need of Keras, whatever the user's own settings say. Keras reads
#: more of them from ``keras.json`` in its home; in a home of ours it has its defaults.
KERAS = {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_HOME": os.path.expanduser("~/.cache/caebook/keras"),
    "TF_USE_LEGACY_KERAS": "0",
}


def prepare() -> None:
    """Set what is not set yet, and `KERAS` in any case."""
    os.environ.update(KERAS)
    # Without this, TensorFlow prints a page of notices into the cell that imports it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for variable in POOLS:
        os.environ.setdefault(variable, str(available_cores()))
    # TensorFlow's own allocator on a CPU never returns memory: a training leaves up to
    # 200 MB there, which the second framework cannot use.
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    # Threads that wait for work must not keep a core busy that others need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def available_cores(
    process: Path = Path("/proc/self/cgroup"), mount: Path = CGROUPS
) -> int:
    """Cores that this process may use: by its affinity and its control group's quota.

    Parameters
    ----------
    process : what Linux says of the process's control groups
    mount : where control groups are mounted
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS
        cores = os.cpu_count() or 1
    return max(1, int(min([cores, *_quotas(process, mount)])))


def _quotas(process: Path, mount: Path) -> Iterator[float]:
    """The quotas, in cores, of the process's control groups and of all above them."""
    try:
        lines = process.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            base, read = mount, _quota_v2
        elif "cpu" in controllers.split(","):
            base, read = mount / "cpu", _quota_v1
        else:
            continue
        # In a container the path may be the host's, which is not there: then only the
        # mounted folder itself counts.
        folder = base / path.lstrip("/")
        for group in (folder, *folder.parents):
            try:
                quota = read(group)
            except (OSError, ValueError):
                quota = None
            if quota:
                yield quota
            if group == base:
                break


def _quota_v2(group: Path) -> float | None:
    quota, period = (group / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(group: Path) -> float | None:
    quota = int((group / "cpu.cfs_quota_us").read_text())
    period = int((group / "cpu.cfs_period_us").read_text())
    return None if quota <= 0 else quota / period


def writable_home(instead: Path) -> dict[str, str]:
    """What to set for programs that write to the user's home: nothing if they can.

    Parameters
    ----------
    instead : folder that becomes the home where the user's own cannot be written
    """
    if os.access(os.path.expanduser("~"), os.W_OK):
        return {}
    instead.mkdir(parents=True, exist_ok=True)
    return {"HOME": str(instead)}


def release_memory() -> None:
    """Return unused memory to the system.

    A training leaves up to 200 MB with the C library, and a second framework in the
    same process does not always use it again.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
