"""What the benchmarks share: one core, processor time, the machine, results as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from caebook.build.benchmarks_page import show
from caebook.build.execute import JOB_ENVIRONMENT
from caebook.files import root, write_text
from caebook.provenance import git_version, now, versions

PACKAGES = (
    "keras", "numpy", "onnxruntime", "scikit-image", "sewar", "tensorflow-cpu",
    "tensorflow", "torch",
)  # fmt: skip
#: Instructions that multiply bfloat16 numbers, as /proc/cpuinfo names them.
BFLOAT16 = ("amx_bf16", "avx512_bf16")

#: The tables of a benchmark by caption; a row maps columns to values.
Tables = dict[str, list[dict[str, str | int | float | None]]]


def parser(description: str) -> argparse.ArgumentParser:
    """A benchmark's command line, with the options that all of them have."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="show that it runs: a few seconds"
    )
    parser.add_argument(
        "--output", type=Path, default=root() / "build" / "benchmarks",
        metavar="FOLDER", help="folder for the results (build/benchmarks)",
    )  # fmt: skip
    parser.add_argument(
        "--record", dest="output", action="store_const",
        const=root() / "benchmarks" / "results",
        help="write the results to benchmarks/results, from where the book shows them",
    )  # fmt: skip
    return parser


def pin(core: int | None = None) -> None:
    """Go on in one thread, with the settings that a build's jobs have.

    The libraries read these when they are loaded, so the process starts again, once.

    Parameters
    ----------
    core : the only core to use, by its number; any by default
    """
    if core is not None:
        os.sched_setaffinity(0, {core})
    wanted = {**JOB_ENVIRONMENT, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **wanted})


def processor_seconds() -> float:
    """Processor time of this process and of its ended children so far."""
    return sum(os.times()[:4])


def least(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Return the least processor time of `repeats` runs, in seconds, and the result.

    Other work on the machine only ever makes a run slower.
    """
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return min(times), result


def run_part(script: str, arguments: Sequence[str]) -> Any:
    """Run a part of a benchmark in a process of its own; return what it prints last.

    Raises
    ------
    SystemExit
        If the process fails.
    """
    command = [sys.executable, script, *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {result.returncode}")
    return json.loads(result.stdout.splitlines()[-1])


def machine() -> dict[str, Any]:
    """The processor and the versions; equal for two runs on the same installation."""
    model, flags = platform.processor() or platform.machine(), []
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
        facts = {name.strip(): value.strip() for name, _, value in lines}
        model, flags = facts.get("model name", model), facts.get("flags", "").split()
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "vectors": next((flag for flag in ("avx512f", "avx2") if flag in flags), None),
        "bfloat16": [flag for flag in BFLOAT16 if flag in flags],
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(PACKAGES),
    }


def save(
    folder: Path, name: str, title: str, note: str, tables: Tables, **more
) -> None:
    """Print the tables; write them to ``<name>.json`` with the machine, for the book.

    Parameters
    ----------
    title : of the page's section
    note : what was compared, and how; Markdown
    more : further entries of the file
    """
    content = {
        "title": title,
        "note": note,
        "machine": machine(),
        "created": now(),
        "git": git_version(),
        "tables": tables,
        **more,
    }
    write_text(folder / f"{name}.json", json.dumps(content, indent=1) + "\n")
    for caption, rows in tables.items():
        print(f"\n{title}: {caption}")
        for row in rows:
            print("  " + ", ".join(f"{column} {show(row[column])}" for column in row))
    print(f"{folder / name}.json", flush=True)
