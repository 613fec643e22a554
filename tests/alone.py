"""Runs one chapter as a reader does who opens it alone.

``alone.py NOTEBOOK DIGITS [OLD NEW]…`` executes its code cells from top to bottom in
this process, with OLD replaced by NEW as a learner might. What they print goes to
standard output; the first error ends it, with the cell's id on standard error.
"""

import json
import sys
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell


def main(notebook: str, digits: str, *edits: str) -> int:
    shell = InteractiveShell.instance(colors="NoColor")
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    sources = {cell["id"]: "".join(cell["source"]) for cell in code}
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        if not any(old in source for source in sources.values()):
            print(f"{old!r} is not in {notebook}", file=sys.stderr)
            return 2
        sources = {key: source.replace(old, new) for key, source in sources.items()}
    for cell in code:
        if "parameters" in cell["metadata"].get("tags", ()):
            sources[cell["id"]] += f"\ndigits = {digits!r}"
        if not shell.run_cell(sources[cell["id"]]).success:
            print(f"cell {cell['id']!r} of {notebook} failed", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
