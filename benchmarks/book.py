"""What a build of the book takes: time when nothing changed, memory of each chapter.

Run it in the book's environment, after ``make smoke`` or ``make book``: ``python
benchmarks/book.py``. It builds nothing that is missing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from measuring import parser, processor_seconds, save

from caebook.files import root

PROFILES = ("reader", "smoke")
WANTED = 10  # s: the aim for a build of an unchanged book
LIMIT = 1_600  # MB for a chapter: Binder has 2 GB, and its server needs some
NOTE = f"""\
`python -m caebook.build` where nothing changed since the last build, with the time that
Python takes to start; the aim is {WANTED} seconds. And the largest resident memory of
each chapter's kernel in the last build on the machine; the aim is {LIMIT:,} MB. Of an
experiment, the largest of its executions."""


def unchanged_build(profile: str) -> dict | None:
    """Time a build that has nothing to do; None, and a sentence, if it has."""
    command = [sys.executable, "-m", "caebook.build", profile]
    listed = subprocess.run(
        [*command, "-n"], capture_output=True, text=True, cwd=root()
    )
    if listed.returncode:
        print(f"{profile}: no time of an unchanged build:\n{listed.stderr.strip()}")
        return None
    if jobs := listed.stdout.split():
        print(
            f"{profile}: no time of an unchanged build, because {len(jobs)} jobs would "
            "run; make the book first"
        )
        return None
    processor, clock = processor_seconds(), time.perf_counter()
    subprocess.run(command, check=True, cwd=root(), stdout=subprocess.DEVNULL)
    return {
        "profile": profile,
        "seconds": time.perf_counter() - clock,
        "processor seconds": processor_seconds() - processor,
    }


def peaks(folder: Path) -> list[dict]:
    """Peak memory of each chapter in the build under `folder`, largest first."""
    largest: dict[str, int] = {}
    for path in folder.glob("done/*.json"):
        name = path.stem.partition("@")[0]
        peak = json.loads(path.read_text(encoding="utf-8"))["peak_memory_mb"]
        largest[name] = max(peak, largest.get(name, 0))
    return [
        {"chapter": name, "MB": peak}
        for name, peak in sorted(largest.items(), key=lambda item: -item[1])
    ]


def main() -> int:
    chosen = parser(__doc__).parse_args()
    built = [p for p in PROFILES if any((root() / "build" / p).glob("done/*.json"))]
    if not built:
        print("book: nothing is built here, so there is nothing to measure")
        return 0
    tables = {}
    timed = filter(None, map(unchanged_build, [] if chosen.quick else built))
    if rows := list(timed):
        tables["a build with nothing to do"] = rows
    rows = peaks(root() / "build" / built[0])
    tables[f"peak memory of a chapter, profile {built[0]}"] = rows
    save(chosen.output, "book", "The build", NOTE, tables)
    if above := [row["chapter"] for row in rows if row["MB"] > LIMIT]:
        print(f"NOT MET: more than {LIMIT:,} MB of memory in {', '.join(above)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
