"""Runs one chapter as a reader does who opens it alone: ``alone.py NOTEBOOK [DIGITS]``.

Its code cells are executed from top to bottom in this process. What they print goes to
standard output; the first error ends it, with the cell's id on standard error.
"""

import json
import sys
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell


def main(notebook: str, digits: str | None = None) -> int:
    shell = InteractiveShell.instance(colors="NoColor")
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        if "parameters" in cell["metadata"].get("tags", ()):
            source += f"\ndigits = {digits!r}"
        if not shell.run_cell(source).success:
            print(f"cell {cell['id']!r} of {notebook} failed", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
