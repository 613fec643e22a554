"""Keeps in ``reference/`` what chapters read from each other, for a chapter run alone.

``python -m caebook.build.reference`` copies it from the finished build of the profile
``reader``: the brief trainings of networks that have no fully trained run there, and
the findings. Run it on MNIST, after chapters have changed what they record.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from caebook.build.chapters import Build, Chapter, find_chapters, stored_files
from caebook.build.graph import full_names
from caebook.errors import BuildError
from caebook.files import replacing_file, replacing_folder, root

BUILD = Build("reader", "mnist", "glyph-letters", 0)


def kept_files(chapters: list[Chapter], reference: Path) -> list[Path]:
    """Paths, below ``runs/`` and ``reference/``, of what should be kept.

    Parameters
    ----------
    chapters : all that may be run alone
    reference : the folder whose fully trained runs need no brief one
    """
    paths: set[Path] = set()
    for chapter in chapters:
        for name in chapter.reads(BUILD):
            full = [reference / other for other in full_names(name) if other != name]
            if not any(model for path in full for model in path.glob("*.onnx")):
                paths.update(stored_files(name))
    return sorted(paths)


def main() -> int:
    """Copy from the build of the profile ``reader``, and drop what has no use left."""
    reference = root() / "reference"
    paths = kept_files(find_chapters(), reference)
    try:
        if missing := [path for path in paths if not (BUILD.runs / path).is_file()]:
            raise BuildError(
                f"{BUILD.runs}: {missing[0]} is missing, and {len(missing) - 1} more: "
                "run 'make book' on MNIST first"
            )
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    by_run: dict[Path, list[str]] = {}
    for path in paths:
        by_run.setdefault(path.parent, []).append(path.name)
    for folder, names in by_run.items():
        if folder.name == "findings":
            for name in names:
                with replacing_file(reference / folder / name) as file:
                    file.write((BUILD.runs / folder / name).read_bytes())
            continue
        with replacing_folder(reference / folder) as new:
            for name in names:
                shutil.copyfile(BUILD.runs / folder / name, new / name)
    for brief in reference.glob("*+short-*"):
        if brief.relative_to(reference) not in by_run:
            shutil.rmtree(brief)
    return 0


if __name__ == "__main__":
    sys.exit(main())
