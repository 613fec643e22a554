"""The page on benchmarks: the results that ``benchmarks/results/`` holds, as tables."""

from __future__ import annotations

import json
from pathlib import Path

#: The benchmarks in the order of the page.
ORDER = ("time_to_quality", "training", "metrics", "codec", "book")


def benchmarks_page(folder: Path) -> str:
    """The page on benchmarks as Markdown.

    Parameters
    ----------
    folder : with a ``.json`` file of each benchmark that was recorded; see
        ``benchmarks/measuring.py``
    """
    lines = [
        "# Benchmarks",
        "",
        "The results that were recorded last, each with the machine that it ran on. "
        "`make bench` measures speed and memory anew; `benchmarks/time_to_quality.py` "
        "compares whole trainings, which takes an hour or two. Compare the ratios: the "
        "seconds hold for one machine.",
        "",
    ]
    recorded = [folder / f"{name}.json" for name in ORDER]
    recorded = [path for path in recorded if path.is_file()]
    if not recorded:
        lines += ["No results are recorded.", ""]
    for path in recorded:
        lines += _section(json.loads(path.read_text(encoding="utf-8")))
    return "\n".join(lines)


def _section(result: dict) -> list[str]:
    """The section of one benchmark, as lines."""
    lines = [f"## {result['title']}", "", result["note"], ""]
    lines += [f"Measured on {_describe(result)}.", ""]
    for caption, rows in result["tables"].items():
        # A row may lack columns that the first one has.
        columns = list(rows[0])
        aligned = [":--" if isinstance(rows[0][c], str) else "--:" for c in columns]
        lines += [f"**{caption[0].upper()}{caption[1:]}**", ""]
        lines += [f"| {' | '.join(columns)} |", f"|{'|'.join(aligned)}|"]
        for row in rows:
            cells = [show(row.get(column)) for column in columns]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return lines


def _describe(result: dict) -> str:
    """The machine and the day, in words."""
    machine = result["machine"]
    instructions = [machine["vectors"], *machine["bfloat16"]]
    known = ", ".join(name for name in instructions if name)
    versions = machine["versions"]
    shown = [name for name in ("keras", "tensorflow-cpu", "torch") if name in versions]
    return (
        f"{result['created'][:10]} at commit {result['git']}: {machine['processor']}"
        f"{f' ({known})' if known else ''}, {machine['cores']} cores, "
        f"{machine['system']}, Python {versions['python']}, "
        + ", ".join(f"{name} {versions[name]}" for name in shown)
    )


def show(value: str | int | float | None) -> str:
    """A value of a table as text: a float with four digits, an empty one as a dash."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value
