"""What imports what, inside the package and from a notebook.

A *room* is a sub-package of the package, or a module beside them. A chapter is executed
again when a room changes that it imports, directly or through others.

``python -m caebook.build.imports [FOLDER]`` prints the rooms of the package (or of the
package in another folder, e.g. an older checkout's), the floors that they stand on, and
what each imports, and fails if there is a loop or an upward import.
"""

from __future__ import annotations

import argparse
import ast
import graphlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from caebook.build.chapters import Chapter
from caebook.errors import ChapterError
from caebook.files import digest, digest_files

Arrows = Mapping[str, set[str]]

# Low to high: a room may import rooms of lower layers only.
LAYERS = (
    ("environment", "errors", "validation"),
    ("files", "images"),
    ("provenance",),
    ("data", "evaluation", "training", "networks", "plots"),
    ("settings",),
    ("runs",),
    ("codec", "page", "train"),
    ("rivals",),
    ("build", "cli"),
)
FRAMEWORKS = {"keras", "tensorflow", "tf2onnx", "torch", "onnxscript"}


@dataclass(frozen=True)
class Package:
    """A package's modules, and what each imports.

    Attributes
    ----------
    folder : where it lies; its name is the package's
    modules : for each module, by its full name, the package's modules that it imports
    others : for each module the other packages that it imports, e.g. ``numpy``
    """

    folder: Path
    modules: Arrows
    others: Arrows

    @classmethod
    def read(cls, folder: Path) -> Package:
        """Read a package's import statements, without importing it."""
        paths = dict(_modules(folder))
        modules: dict[str, set[str]] = {}
        others: dict[str, set[str]] = {}
        for name, path in paths.items():
            parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
            names = imported_names(path.read_text(encoding="utf-8"), parent)
            modules[name] = _resolve(names, paths) - {name}
            others[name] = {n.partition(".")[0] for n in names} - {folder.name}
        return cls(folder, modules, others)

    def room(self, module: str) -> str:
        """The room that a module is in; the package's own name for its ``__init__``."""
        return [*module.split("."), module][1]

    def rooms(self) -> dict[str, set[str]]:
        """For each room, the other rooms that its modules import."""
        arrows: dict[str, set[str]] = {}
        for module, imported in self.modules.items():
            room = self.room(module)
            arrows.setdefault(room, set()).update(map(self.room, imported))
        return {room: imported - {room} for room, imported in arrows.items()}

    def rooms_behind(self, names: Iterable[str]) -> set[str]:
        """The rooms that importing `names` executes, directly and through others."""
        arrows = self.rooms()
        found: set[str] = set()
        waiting = [self.room(module) for module in _resolve(names, self.modules)]
        waiting.append(self.folder.name)  # whose __init__ is executed in any case
        while waiting:
            room = waiting.pop()
            if room not in found:
                found.add(room)
                waiting += arrows[room]
        return found

    def room_digest(self, room: str) -> str:
        """Changes when any file of the room does."""
        if room == self.folder.name:
            return digest_files([self.folder / "__init__.py"])
        files = [self.folder / f"{room}.py", *(self.folder / room).rglob("*")]
        return digest_files([f for f in files if "__pycache__" not in f.parts])

    def definition_digests(self, room: str, names: Iterable[str]) -> dict[str, str]:
        """Digests of the definitions in a room that importing `names` uses.

        ``package.room.module.name`` stands for that function or class and all in its
        module that it uses. Any other name of the room stands for all of the room.
        """
        prefix = f"{self.folder.name}.{room}"
        digests = {}
        for name in names:
            if name != prefix and not name.startswith(f"{prefix}."):
                continue
            module, _, definition = name.rpartition(".")
            found = {}
            if module in self.modules and name not in self.modules:
                path = self.folder / room / f"{module.rpartition('.')[2]}.py"
                found = _used(path.read_text(encoding="utf-8"), definition)
            digests[name] = digest(found) if found else self.room_digest(room)
        return digests


def _used(source: str, name: str) -> dict[str, str]:
    """Source of a module's definition and of those that it uses; empty if none."""
    tree = ast.parse(source)
    nodes = {node.name: node for node in tree.body if hasattr(node, "name")}
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        node = nodes.get(waiting.pop())
        if node is not None and node.name not in found:
            found[node.name] = ast.unparse(node)
            waiting += [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
    return dict(sorted(found.items()))


def imported_names(source: str, parent: str = "") -> set[str]:
    """Full names of everything that Python source imports, wherever in it.

    ``from a import b`` gives ``a.b``, be that a module or not. What is imported for
    type checkers only is left out.

    Parameters
    ----------
    source : Python code
    parent : the package that relative imports start from

    Raises
    ------
    SyntaxError
        If `source` is not valid Python.
    """
    names = set()
    for node in _executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = parent.split(".")[: len(parent.split(".")) - node.level + 1]
            base = [*above, node.module] if node.level else [node.module]
            origin = ".".join(part for part in base if part)
            names |= {f"{origin}.{alias.name}" for alias in node.names}
    return names


def chapter_imports(chapter: Chapter) -> set[str]:
    """Full names of everything that a chapter's code cells import.

    Raises
    ------
    ChapterError
        If a cell is not valid Python.
    """
    names = set()
    for cell in chapter.code_cells:
        try:
            names |= imported_names(_python(cell.source))
        except SyntaxError as error:
            raise ChapterError(
                f"notebooks/{chapter.name}.ipynb, cell {cell.id!r}, line "
                f"{error.lineno}: not valid Python: {error.msg}"
            ) from error
    return names


def _python(source: str) -> str:
    """A cell's source with IPython's own syntax, such as ``%pip``, made Python."""
    if not any(line.lstrip().startswith(("%", "!")) for line in source.splitlines()):
        return source
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager().transform_cell(source)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and all below it, except blocks under ``if TYPE_CHECKING``."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield from _executed(child)


def _modules(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
        yield ".".join(part for part in parts if part != "__init__"), path


def _resolve(names: Iterable[str], modules: Iterable[str]) -> set[str]:
    """The modules that imported names belong to: the longest that each begins with."""
    found = set()
    for name in names:
        parts = name.split(".")
        prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        found |= set([p for p in prefixes if p in modules][:1])
    return found


def loop(arrows: Arrows) -> list[str]:
    """A loop, from a node along arrows back to it; empty if there is none."""
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]  # graphlib lists it against the arrows
    return []


def floors(rooms: Arrows) -> list[set[str]]:
    """Rooms by the lowest floor that each can stand on, above all that it imports.

    Raises
    ------
    graphlib.CycleError
        If there is a loop.
    """
    sorter = graphlib.TopologicalSorter(rooms)
    sorter.prepare()
    found = []
    while ready := sorter.get_ready():
        found.append(set(ready))
        sorter.done(*ready)
    return found


def upward(rooms: Arrows) -> list[tuple[str, str]]:
    """The imports that do not lead to a lower layer: (room, what it imports)."""
    layer = {room: number for number, layer in enumerate(LAYERS) for room in layer}
    return [
        (room, other)
        for room, imported in rooms.items()
        for other in sorted(imported)
        if room in layer and layer.get(other, -1) >= layer[room]
    ]


def report(package: Package) -> tuple[str, bool]:
    """The import graph in words, and whether it is sound."""
    rooms = package.rooms()
    rooms.pop(package.folder.name, None)
    around = loop(rooms) or loop(package.modules)
    climbing = upward(rooms)
    lines = []
    if not loop(rooms):
        for number, floor in enumerate(floors(rooms)):
            lines.append(f"floor {number}   {', '.join(sorted(floor))}")
    lines.append("")
    for room, imported in rooms.items():
        lines.append(f"{room:<12} → {', '.join(sorted(imported)) or '–'}")
    frameworks = {
        package.room(module)
        for module, others in package.others.items()
        if others & FRAMEWORKS
    }
    lines += [
        "",
        f"{len(package.modules)} modules in {len(rooms)} rooms",
        f"a framework is imported in: {', '.join(sorted(frameworks)) or 'none'}",
        f"loop: {' → '.join(around)}" if around else "no loop",
        *(f"upward import: {room} → {other}" for room, other in climbing),
    ]
    if strange := rooms.keys() - {room for layer in LAYERS for room in layer}:
        lines.append(f"not in LAYERS: {', '.join(sorted(strange))}")
    elif not climbing:
        lines.append("no upward import")
    return "\n".join(lines), not around and not climbing


def main(arguments: list[str] | None = None) -> int:
    """Print the import graph of a package."""
    parser = argparse.ArgumentParser(prog="python -m caebook.build.imports")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(__file__).parents[1],
        help="a package's folder, e.g. src/caebook of another checkout",
    )  # fmt: skip
    folder = parser.parse_args(arguments).folder.resolve()
    if not (folder / "__init__.py").is_file():
        print(f"{folder}: holds no package (__init__.py)", file=sys.stderr)
        return 2
    text, sound = report(Package.read(folder))
    print(text)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
