"""Import graphs: the package's, which must be sound, and those of small packages."""

import ast
import graphlib
import re

import pytest

from caebook.build import imports
from caebook.build.graph import PACKAGE
from caebook.build.imports import LAYERS, Package, floors, imported_names, loop

package = Package.read(PACKAGE)


def make(folder, sources: dict[str, str]) -> Package:
    """A package of these modules, e.g. ``{"low/one.py": "import pack.high"}``."""
    for name, source in {"__init__.py": "", **sources}.items():
        path = folder / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return Package.read(folder / "pack")


# ---- this package -----------------------------------------------------------------


def test_no_module_of_the_package_is_in_a_loop():
    assert loop(package.modules) == []
    assert loop(package.rooms()) == []


def test_no_room_imports_a_room_above_it():
    rooms = package.rooms().keys() - {"caebook"}
    assert rooms == {room for layer in LAYERS for room in layer}
    assert imports.upward(package.rooms()) == []


def test_frameworks_are_imported_in_few_places():
    found = {m for m, others in package.others.items() if others & imports.FRAMEWORKS}
    assert {package.room(module) for module in found} <= {"training", "networks"}


def test_every_import_of_the_package_can_be_read_from_its_source():
    """What a statement does not say, no chapter would be executed again for."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "attr", getattr(node, "id", None))
            assert name not in ("import_module", "__import__"), f"{path}:{node.lineno}"


def test_command_prints_rooms_and_succeeds(capsys):
    assert imports.main([]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"floor 0 .*\berrors", printed) and "no loop" in printed
    assert "a framework is imported in: networks, training" in printed


# ---- small packages ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a.b, c as d", {"a.b", "c"}),
        ("from a import b, c as d", {"a.b", "a.c"}),
        ("from . import one", {"pack.room.one"}),
        ("from ..low.two import three", {"pack.low.two.three"}),
        ("def f():\n    if x:\n        import late", {"late"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import t",
         {"typing.TYPE_CHECKING"}),
    ],
)  # fmt: skip
def test_imported_names(source, names):
    assert imported_names(source, "pack.room") == names


def test_rooms_behind_an_import_are_those_it_executes(tmp_path):
    made = make(
        tmp_path,
        {
            "low.py": "import numpy",
            "mid/__init__.py": "from pack.mid.part import thing",
            "mid/part.py": "def thing():\n    from pack import low",
            "high/__init__.py": "",
            "high/one.py": "from ..mid import thing",
            "apart.py": "",
        },
    )
    assert made.rooms_behind({"pack.high.one.run"}) == {"pack", "high", "mid", "low"}
    assert made.rooms_behind({"pack.mid", "numpy"}) == {"pack", "mid", "low"}
    assert made.rooms_behind({"pack.apart"}) == {"pack", "apart"}
    assert made.rooms_behind({"packer.high", "os"}) == {"pack"}
    rooms = {room: arrows for room, arrows in made.rooms().items() if room != "pack"}
    assert floors(rooms) == [{"low", "apart"}, {"mid"}, {"high"}]
    assert made.others["pack.low"] == {"numpy"}


def test_room_digest_follows_every_file_of_the_room(tmp_path):
    made = make(tmp_path, {"low.py": "", "high/one.py": ""})
    before = [made.room_digest(room) for room in ("pack", "low", "high")]
    (made.folder / "high" / "model.bin").write_bytes(b"1")
    (made.folder / "high" / "__pycache__").mkdir()
    (made.folder / "high" / "__pycache__" / "one.pyc").write_bytes(b"1")
    after = [made.room_digest(room) for room in ("pack", "low", "high")]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]
    (made.folder / "high" / "__pycache__" / "one.pyc").unlink()
    assert made.room_digest("high") == after[2]


def test_loops_and_upward_imports_are_shown(tmp_path, capsys):
    made = make(
        tmp_path,
        {
            "errors.py": "import pack.runs",
            "runs/__init__.py": "",
            "data/one.py": "import pack.data.two",
            "data/two.py": "import pack.data.one",
        },
    )
    assert imports.main([str(made.folder)]) == 1
    printed = capsys.readouterr().out
    assert "upward import: errors → runs" in printed
    assert "loop: pack.data." in printed
    assert floors({"a": {"b"}, "b": set()}) == [{"b"}, {"a"}]
    assert loop({"a": {"b"}, "b": {"c"}, "c": {"a"}}) in (
        ["a", "b", "c", "a"], ["b", "c", "a", "b"], ["c", "a", "b", "c"]
    )  # fmt: skip
    with pytest.raises(graphlib.CycleError):
        floors({"a": {"b"}, "b": {"a"}})
    assert imports.main([str(tmp_path)]) == 2
    assert "holds no package" in capsys.readouterr().err
