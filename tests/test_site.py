"""The site's sources: settings, pages, citations, workflows, environments."""

import importlib.metadata
import importlib.util
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import yaml
from packaging.specifiers import SpecifierSet

from caebook.build.chapters import Chapter, find_chapters
from caebook.build.imports import Package, chapter_imports
from caebook.build.launch import (
    HELPERS,
    PINNED,
    add_install_cells,
    install_cell,
    launch_branch,
    launch_settings,
    repository_address,
)
from caebook.build.launch import main as launch_main

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"


def read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def extension(name: str) -> ModuleType:
    path = BOOK / "_ext" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"book_ext_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def toc_files() -> list[str]:
    toc = read_yaml(BOOK / "_toc.yml")
    chapters = [entry for part in toc["parts"] for entry in part["chapters"]]
    entries = [
        e for chapter in chapters for e in (chapter, *chapter.get("sections", []))
    ]
    return [toc["root"], *(entry["file"] for entry in entries)]


def sources() -> list[Chapter]:
    """The chapters as they stand in this checkout, wherever the project's root is."""
    paths = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    paths += sorted((ROOT / "notebooks").glob("[a-z]_*.ipynb"))
    return [Chapter.read(path) for path in paths]


def prose() -> dict[str, str]:
    """Markdown of every page: the book's own and the chapters' text cells."""
    pages = {path.name: path.read_text(encoding="utf-8") for path in BOOK.glob("*.md")}
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        text = [cell.source for cell in cells if cell.cell_type == "markdown"]
        pages[path.name] = "\n\n".join(text)
    return pages


# ---- settings ---------------------------------------------------------------------


def test_toc_names_every_page_and_only_pages_that_exist():
    files = toc_files()
    assert len(files) == len(set(files))
    generated = {"status", "benchmarks"}
    for name in set(files) - generated:
        folder = ROOT if name.startswith("notebooks/") else BOOK
        found = [folder / f"{name}{suffix}" for suffix in (".md", ".ipynb")]
        assert any(path.is_file() for path in found), f"_toc.yml: no source for {name}"
    notebooks = {f"notebooks/{chapter.name}" for chapter in find_chapters()}
    pages = {path.stem for path in BOOK.glob("*.md")}
    assert notebooks | pages | generated == set(files)


def test_settings_execute_nothing_and_name_no_address():
    config = read_yaml(ROOT / "_config.yml")
    assert config["execute"]["execute_notebooks"] == "off"
    # An address or a launch button here would be a dead link in somebody's copy.
    assert not {"repository", "launch_buttons"} & set(config)


def test_scripts_and_styles_name_no_other_server():
    for path in [*BOOK.glob("_static/*.css"), *BOOK.glob("_static/*.js")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://|@import|url\(\s*[\"']?//", text), path


def test_mathjax_is_the_released_script():
    path = extension("offline_mathjax").script_path()
    assert path.stat().st_size > 1_000_000


def test_altered_mathjax_is_refused(monkeypatch):
    module = extension("offline_mathjax")
    monkeypatch.setattr(module, "SHA256", "0" * 64)
    with pytest.raises(Exception, match=r"is not MathJax 3\.2\.2: reinstall"):
        module.script_path()


# ---- references -------------------------------------------------------------------


def bibliography_keys() -> list[str]:
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    return re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE)


def test_every_citation_and_term_is_defined():
    keys = set(bibliography_keys())
    glossary = (BOOK / "glossary.md").read_text(encoding="utf-8")
    body = glossary.split(":::{glossary}")[1].split(":::")[0]
    terms = {line for line in body.splitlines() if line and not line.startswith(" ")}
    assert terms
    for name, text in prose().items():
        for cited in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text):
            assert {key.strip() for key in cited.split(",")} <= keys, (name, cited)
        for term in re.findall(r"\{term\}`([^`]+)`", text):
            target = re.search(r"<([^>]+)>$", term)
            assert (target[1] if target else term) in terms, (name, term)


def test_glossary_is_sorted():
    glossary = (BOOK / "glossary.md").read_text(encoding="utf-8")
    body = glossary.split(":::{glossary}")[1].split(":::")[0]
    entries = [entry.splitlines()[0] for entry in body.strip().split("\n\n")]
    assert entries == sorted(entries, key=str.lower)


# ---- extensions -------------------------------------------------------------------


def cell(tags: list[str]):
    from docutils import nodes

    return nodes.container(
        nb_element="cell_code", classes=["cell", *(f"tag_{tag}" for tag in tags)]
    )


def document(*children):
    from docutils import nodes
    from docutils.frontend import get_default_settings
    from docutils.utils import new_document

    made = new_document("test", get_default_settings())
    made += nodes.section("", *children, ids=["section"])
    return made


def tabs_of(section) -> list[list[str]]:
    """Labels of each tab-set in a section, in order."""
    sets = [
        node for node in section.children if node.get("design_component") == "tab-set"
    ]
    return [[item[0].astext() for item in tab_set] for tab_set in sets]


def test_adjacent_framework_cells_become_one_tab_set():
    from docutils import nodes

    made = document(
        cell(["tab-torch"]),
        cell(["tab-keras"]),
        cell(["tab-keras", "hide-cell"]),
        nodes.paragraph("", "prose keeps sets apart"),
        cell(["tab-keras"]),
        cell(["tab-torch"]),
        cell(["hide-input"]),
    )
    extension("framework_tabs").FrameworkTabs(made).apply()
    section = made[0]
    assert tabs_of(section) == [["Keras", "PyTorch"]] * 2
    assert len(section) == 4  # two sets, the prose, the last cell
    keras, torch = section[0].children
    assert [len(item[1]) for item in (keras, torch)] == [2, 1]
    assert keras[0]["sync_group"] == torch[0]["sync_group"] == "framework"
    assert keras[0]["sync_id"] != torch[0]["sync_id"]


def test_a_framework_without_its_counterpart_is_reported(caplog):
    extension("framework_tabs").FrameworkTabs(document(cell(["tab-keras"]))).apply()
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "tab-torch" in record.getMessage()


def test_a_fold_says_whether_it_holds_a_solution_an_output_or_code():
    made = document(
        cell(["hide-cell", "solution"]), cell(["hide-cell"]), cell(["hide-output"])
    )
    solution, other, output = made[0].children
    for node in (solution, other, output):
        node["hide_mode"] = "output" if node is output else "all"
        node["prompt_show"] = node["prompt_hide"] = "code"
    extension("framework_tabs").FoldPrompts(made).apply()
    assert solution["prompt_show"] == "Solution"
    assert other["prompt_show"] == "code"
    assert output["prompt_show"] == "Show the output"


def test_chapter_figure_finds_a_figure_by_name_with_its_alternative_text():
    find = extension("chapter_figure").find_image
    output = nbformat.v4.new_output("display_data", {"image/png": "UE5H"})
    settings = {"mystnb": {"figure": {"name": "fig-a"}, "image": {"alt": "seven"}}}
    cell = nbformat.v4.new_code_cell("", outputs=[output], metadata=settings)
    other = nbformat.v4.new_code_cell("", outputs=[output])
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(""), other, cell]
    )
    assert find(notebook, "fig-a") == (b"PNG", "seven")
    with pytest.raises(LookupError, match="figure named 'fig-b'"):
        find(notebook, "fig-b")


# ---- environments and workflows ------------------------------------------------------


def test_binder_installs_the_lock_the_package_and_nothing_else():
    environment = read_yaml(ROOT / "environment.yml")
    *conda, last = environment["dependencies"]
    assert sorted(re.split("[=<>]", entry)[0] for entry in conda) == ["pip", "python"]
    python = next(entry for entry in conda if entry.startswith("python"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert python.removeprefix("python=") in SpecifierSet(project["requires-python"])
    options = {entry for entry in last["pip"] if entry.startswith("--")}
    assert set(last["pip"]) - options == {"-r requirements.lock", "-e ."}


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_pinned_and_ask_for_little(path):
    workflow = read_yaml(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["defaults"]["run"]["shell"] == "bash"  # with pipefail
    for job in workflow["jobs"].values():
        if "uses" in job:  # another workflow of ours, which is tested itself
            assert job["uses"].startswith("./.github/workflows/")
            continue
        assert job["timeout-minutes"] > 0
        for step in job["steps"]:
            if "uses" in step:
                action = r"(actions|lycheeverse)/[a-z-]+@v\d+"
                assert re.fullmatch(action, step["uses"]), step
            assert "|| true" not in step.get("run", "")


def test_workflows_run_modules_that_the_package_has():
    texts = [path.read_text(encoding="utf-8") for path in WORKFLOWS]
    modules = re.findall(r"python -m (caebook[\w.]*)", "\n".join(texts))
    assert modules
    for module in modules:
        assert pkgutil.resolve_name(module)


def test_publishing_waits_for_the_tests_and_for_the_real_images():
    jobs = read_yaml(ROOT / ".github/workflows/ci.yml")["jobs"]
    assert jobs["publish"]["needs"] == "test"
    publish = read_yaml(ROOT / ".github/workflows/publish.yml")
    assert list(publish[True]) == ["workflow_call"]  # YAML 1.1 reads "on" as true
    runs = [step.get("run", "") for step in publish["jobs"]["build"]["steps"]]
    assert runs.index("make mnist") < next(n for n, r in enumerate(runs) if "book" in r)


def test_workflows_call_targets_that_the_makefile_has():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    texts = [path.read_text() for path in WORKFLOWS]
    texts += [(BOOK / "using.md").read_text(), (BOOK / "index.md").read_text()]
    texts += [(ROOT / "CONTRIBUTING.md").read_text()]
    commands = re.findall(
        r"(?:`|run: |^)make ([a-z]+)(?=[`\s])", "\n".join(texts), re.MULTILINE
    )
    assert {"book", "test"} <= set(commands)
    assert set(commands) <= targets


def test_citation_file_names_the_book():
    citation = read_yaml(ROOT / "CITATION.cff")
    assert citation["title"] == read_yaml(ROOT / "_config.yml")["title"]


def test_pages_are_written_without_machine_paths():
    for name, text in prose().items():
        assert not re.search(r"/(?:root|home|tmp|Users)/", text), name


# ---- launch links -----------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A function that makes this a git checkout with an origin, or with none."""
    for name in ("GITHUB_REPOSITORY", "GITHUB_SERVER_URL", "CAEBOOK_LAUNCH_BRANCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))

    def make(origin: str | None) -> None:
        git = ["git", "-C", str(tmp_path)]
        subprocess.run([*git, "init", "-q"], check=True)
        if origin:
            subprocess.run([*git, "remote", "add", "origin", origin], check=True)

    return make


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/someone/book.git", "https://github.com/someone/book"),
        ("https://token@github.com/someone/book", "https://github.com/someone/book"),
        ("git@github.com:someone/book.git", "https://github.com/someone/book"),
        ("ssh://git@github.com/some-one/a.book", "https://github.com/some-one/a.book"),
        ("https://github.com/someone", None),
        ("https://elsewhere.example/someone/book.git", None),
        ("/srv/git/book.git", None),
        (None, None),
    ],
)
def test_address_comes_from_the_git_remote(checkout, remote, address):
    checkout(remote)
    assert repository_address() == address


BINDER, COLAB = "binderhub_url", "colab_url"


@pytest.mark.parametrize(
    ("environment", "origin", "address", "branch", "buttons"),
    [
        ({}, None, None, None, set()),
        ({"GITHUB_REPOSITORY": "one/book"}, None, "one/book", "main", {BINDER}),
        ({}, "git@github.com:two/book.git", "two/book", "main", {BINDER}),
        ({"GITHUB_REPOSITORY": "one/book"}, "git@github.com:two/book", "one/book",
         "main", {BINDER}),
        ({"CAEBOOK_LAUNCH_BRANCH": "launch"}, "git@github.com:two/book", "two/book",
         "launch", {BINDER, COLAB}),
        ({"CAEBOOK_LAUNCH_BRANCH": "launch"}, None, None, None, set()),
    ],
    ids=["no address", "environment", "origin", "environment before origin",
         "launch branch", "launch branch without address"],
)  # fmt: skip
def test_links_lead_to_the_address_and_branch_at_hand(
    checkout, monkeypatch, environment, origin, address, branch, buttons
):
    checkout(origin)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = launch_settings(repository_address(), launch_branch())
    if address is None:
        assert settings == {}
        return
    assert settings["repository"] == {
        "url": f"https://github.com/{address}",
        "branch": branch,
    }
    assert settings["launch_buttons"].keys() & {BINDER, COLAB} == buttons


ADDRESS, COMMIT = "https://github.com/someone/book", "0123456789abcdef" * 2 + "01234567"

#: Distributions that Colab has, of those that chapters import or training needs.
ON_COLAB = {
    "ipython", "keras", "matplotlib", "numpy", "pandas", "pillow", "pyyaml", "requests",
    "scikit-image", "scikit-learn", "scipy", "tensorflow", "tensorflow-cpu", "torch",
    "tqdm",
}  # fmt: skip


def test_chapters_of_the_launch_branch_begin_with_the_install_cell(
    tmp_path, monkeypatch
):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    add_install_cells(ADDRESS, COMMIT)
    chapters = find_chapters()
    for chapter, original in zip(chapters, sources(), strict=True):
        install, *others = chapter.code_cells
        assert install.id == "install"
        # The launch branch has the cell already, with an address of its own.
        assert [c for c in original.code_cells if c.id != "install"] == others
        chapter_imports(chapter)  # it is valid Python, but for IPython's own syntax
    add_install_cells(ADDRESS, "f" * 40)
    assert [c.notebook for c in find_chapters()] == [c.notebook for c in chapters]


def test_colab_has_or_gets_all_that_chapters_import():
    package = Package.read(ROOT / "src" / "caebook")
    names = set().union(*map(chapter_imports, sources()))
    rooms = package.rooms_behind(names)
    modules = {name.partition(".")[0] for name in names}
    for module, others in package.others.items():
        modules |= others if package.room(module) in rooms else set()
    modules -= {*sys.stdlib_module_names, "caebook"}
    installed = importlib.metadata.packages_distributions()
    needed = {installed[module][0].lower().replace("_", "-") for module in modules}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    train = project["optional-dependencies"]["train"]  # exporters are imported by name
    needed |= {re.split(r"[<>=; ]", requirement)[0] for requirement in train}
    helpers = {re.split("[<>=]", helper)[0] for helper in HELPERS}
    assert needed <= ON_COLAB | {*PINNED} | helpers
    assert not ON_COLAB & ({*PINNED} | helpers)
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    assert {*PINNED} <= {line.partition("==")[0] for line in lock}


def test_install_cell_brings_the_commit_and_leaves_the_frameworks_alone(tmp_path):
    origin, colab = tmp_path / "origin", tmp_path / "my colab"

    def git(*arguments: str) -> str:
        author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(origin), *author, *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout

    (origin / "reference").mkdir(parents=True)
    colab.mkdir()
    (origin / "reference" / "run.json").write_text("first")
    (origin / "requirements.lock").write_text(
        "numpy==2.4.6\nsewar==0.4.10\ntorch==2.13.0\ntf2onnx==1.17.0 ; python > '3'\n"
    )
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "First")
    commit = git("rev-parse", "HEAD").strip()
    (origin / "reference" / "run.json").write_text("later")
    git("commit", "-q", "-a", "-m", "Later")
    source = install_cell(origin.as_uri(), commit)
    source = source.replace('importlib.util.find_spec("caebook")', "None")
    source = source.replace("%pip", "!echo pip") + "\nprint(os.environ['CAEBOOK_ROOT'])"
    result = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", "-c", source],
        cwd=colab,
        env={**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")},
        capture_output=True,
        text=True,
    )
    book = colab / f"caebook-{commit[:7]}"
    *_, helpers, pinned, root = result.stdout.splitlines()
    assert root == str(book), result.stderr
    assert (book / "reference" / "run.json").read_text() == "first"
    assert "--no-deps" in pinned and pinned.endswith(f"{book}/colab.txt {book}")
    listed = (book / "colab.txt").read_text().splitlines()
    assert listed == ["sewar==0.4.10", "tf2onnx==1.17.0 ; python > '3'"]
    assert not re.search("torch|tensorflow|keras|numpy", helpers)


def test_without_an_address_there_are_no_install_cells(checkout, capsys):
    checkout(None)
    assert launch_main([]) == 1
    assert "no public address" in capsys.readouterr().err
