"""The chapters' networks as a module, and the one line that trains them."""

import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import torch

from caebook import data, networks
from caebook.build.chapters import Build, Chapter, find_chapters
from caebook.build.graph import reference_runs
from caebook.build.imports import Package
from caebook.build.networks import FOLDER, FRAMEWORKS, main, module
from caebook.errors import ChapterError, RunError
from caebook.settings import Settings
from caebook.train import halves, train
from caebook.training import FAST_RECIPE
from caebook.training import torch as torch_training

frameworks = pytest.mark.parametrize("framework", FRAMEWORKS)


def chapter_with(tmp_path, **sources: str) -> Chapter:
    """A chapter with cells tagged ``network`` and ``tab-torch``, by their ids."""
    import nbformat

    cells = [
        nbformat.v4.new_code_cell("seed = None", metadata={"tags": ["parameters"]})
    ]
    for name, source in sources.items():
        cell = nbformat.v4.new_code_cell(source, id=name)
        cell.metadata["tags"] = ["tab-torch", "network"]
        cells.append(cell)
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["caebook"] = {"reads": [], "writes": []}
    path = tmp_path / "01_one.ipynb"
    nbformat.write(notebook, path)
    return Chapter.read(path)


# --- exporting -------------------------------------------------------------------


@frameworks
def test_modules_are_those_of_the_chapters(framework):
    expected = (FOLDER / f"{framework}.py").read_text(encoding="utf-8")
    message = "run python -m caebook.build.networks"
    assert module(framework, find_chapters()) == expected, message


def test_imports_are_gathered_and_definitions_kept(tmp_path):
    chapter = chapter_with(
        tmp_path,
        one="import math\n\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    pass",
        two="from torch import nn\n\nfrom caebook.networks.torch import Net\n\n\n"
        "@staticmethod\ndef torch_two():\n    return Net()  # fresh",
    )
    text = module("torch", [chapter])
    assert text.count("from torch import nn") == 1
    assert "caebook.networks" not in text
    assert text.index("import math") < text.index("from torch")
    assert "@staticmethod\ndef torch_two():\n    return Net()  # fresh" in text
    assert "import" not in module("keras", [chapter]).partition('"""\n')[2]
    compile(text, "torch.py", "exec")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"one": "x = 1"}, "cell 'one', line 1: .* move the rest"),
        ({"one": "def f():\n    pass", "two": "def f():\n    pass"}, "f is defined in"),
    ],
)
def test_other_cells_are_refused(tmp_path, sources, message):
    with pytest.raises(ChapterError, match=message):
        module("torch", [chapter_with(tmp_path, **sources)])


def test_command_writes_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr("caebook.build.networks.FOLDER", tmp_path)
    assert main() == 0
    for framework in FRAMEWORKS:
        written = (tmp_path / f"{framework}.py").read_bytes()
        assert written == (FOLDER / f"{framework}.py").read_bytes()


# --- what a chapter depends on ---------------------------------------------------


def test_a_chapter_depends_on_the_networks_that_it_imports_only(tmp_path):
    folder = tmp_path / "pack" / "networks"
    folder.mkdir(parents=True)
    for path in (folder.parent, folder):
        (path / "__init__.py").write_text("")

    def digests(source, *names):
        (folder / "torch.py").write_text(source)
        return Package.read(folder.parent).definition_digests("networks", names)

    source = "def shared():\n    return 1\n\n\ndef one():\n    return shared()\n"
    source += "\n\ndef two():\n    return 2\n"
    name = "pack.networks.torch.one"
    before = digests(source, name, "pack.other")
    assert set(before) == {name}
    assert digests(source.replace("return 2", "return 3"), name) == before
    assert digests(source.replace("return 1", "return 3"), name) != before
    assert digests(source + "# comment\n", name) == before
    whole = digests(source, "pack.networks.torch")
    assert digests(source.replace("return 2", "return 3"), *whole) != whole


# --- building and training -------------------------------------------------------


@pytest.mark.parametrize("system", ["shallow", "wide-kernel", "classifier"])
def test_a_seed_decides_the_first_weights(system):
    def weights(seed):
        one = networks.build(system, "keras", seed).get_weights()
        two = networks.build(system, "torch", seed).parameters()
        return [*one, *(w.detach().numpy() for w in two)]

    assert all(map(np.array_equal, weights(1), weights(1)))
    assert not all(map(np.array_equal, weights(1), weights(2)))


@frameworks
@pytest.mark.parametrize("start", ["glorot", "fan-in"])
def test_each_framework_draws_first_weights_by_the_rule_that_is_asked_for(
    framework, start
):
    model = networks.build("init", framework, seed=1, start=start)
    if framework == "keras":
        weights = [weight.numpy() for weight in model.weights]
        kernels, biases = weights[::2], weights[1::2]
    else:
        weights = [weight.detach().numpy() for weight in model.parameters()]
        kernels, biases = weights[::2], weights[1::2]
        # As Keras has them: what a kernel takes in and puts out comes last.
        kernels = [np.moveaxis(kernel, (1, 0), (-2, -1)) for kernel in kernels]
    for kernel, bias in zip(kernels, biases, strict=True):
        fan_in = np.prod(kernel.shape[:-1])
        fan_out = fan_in / kernel.shape[-2] * kernel.shape[-1]
        bound = (6 / (fan_in + fan_out)) ** 0.5 if start == "glorot" else fan_in**-0.5
        assert 0.9 * bound < np.abs(kernel).max() <= bound * 1.000_001
        assert np.abs(kernel).mean() == pytest.approx(bound / 2, rel=0.1)
        if start == "glorot":
            assert not bias.any()
        else:
            assert 0 < np.abs(bias).max() <= bound * 1.000_001


def test_unknown_networks_are_refused():
    with pytest.raises(ValueError, match="defines a network torch_deeper"):
        networks.build("deeper", "torch")
    with pytest.raises(ValueError, match="'jax' is not"):
        networks.build("deep", "jax")


def test_building_in_one_framework_imports_that_one_only():
    code = (
        "import sys; from caebook import networks; networks.build('deep', 'torch'); "
        "print('tensorflow' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert result.stdout.strip() == "False", result.stderr


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings("smoke", "glyph-digits", None, 0, tmp_path / "runs")


@frameworks
def test_one_line_trains_and_records(framework, settings, capsys):
    recipe = replace(FAST_RECIPE, epochs=2, train_images=300)
    run = train(
        networks.build("transposed", framework, enlarge="nearest", maps=7),
        "transposed",
        settings,
        variant="nearest+fast",
        recipe=recipe,
    )
    assert run.name == f"transposed+nearest+fast-{framework}-glyph-digits-s0"
    assert run.record.recipe == recipe
    assert run.record.test.images == 500
    assert run.record.history.loss[1] < run.record.history.loss[0]
    assert capsys.readouterr().out.count("epoch ") == 2
    assert run.folder.parent == settings.runs_dir


@frameworks
def test_a_classifier_is_trained_on_labels(framework, settings):
    run = train(networks.build("classifier", framework), "classifier", settings)
    assert run.record.kind == "classifier" and run.record.variant == "short"
    assert run.record.test.accuracy > 0.2


def test_given_images_are_trained_on(settings):
    dataset = data.load("glyph-digits")
    recipe = replace(settings.recipe("transposed"), train_images=50, epochs=1)
    black = np.zeros((50, 28, 28), np.uint8)
    run = train(
        networks.build("transposed", "torch"),
        "transposed",
        settings,
        recipe=recipe,
        dataset=dataset,
        split=(black, black[:10]),
    )
    model = networks.build("transposed", "torch")
    history = torch_training.fit(model, black, recipe, validation=black[:10])
    assert run.record.history.loss == history.loss


def test_what_cannot_be_trained_is_refused(settings):
    with pytest.raises(TypeError, match="str is neither"):
        train("shallow", "shallow", settings)
    with pytest.raises(TypeError, match="two halves"):
        halves(torch.nn.Identity())
    with pytest.raises(TypeError, match="two halves"):
        halves(keras.Sequential([keras.layers.Flatten()]))
    broken = networks.build("transposed", "torch")
    torch.nn.init.constant_(broken.decoder[0].weight, float("nan"))
    with pytest.raises(RunError, match="not finite"):
        train(broken, "transposed", settings)
    assert not list(settings.runs_dir.glob("*/run.json"))


# --- reference runs --------------------------------------------------------------


def test_a_new_reference_run_concerns_the_chapters_that_read_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    build = Build("reader", "mnist", "glyph-letters", 0)

    def chapter(*reads, writes=()):
        one = chapter_with(tmp_path)
        return replace(one, declared={"reads": list(reads), "writes": list(writes)})

    chapters = {
        "pattern": chapter("reference/ladder+*"),
        "writes": chapter(writes=["deep{short}-torch-{digits}-s{seed}"]),
        "other": chapter("reference/shallow+fast-*"),
    }
    for name, readers in {
        "ladder+pool1-code16+fast-torch-mnist-s1": {"pattern"},
        "deep-torch-mnist-s0": {"writes"},
        "deep+fast-torch-mnist-s0": {"writes"},
        "deep+fast-torch-mnist-s1": set(),
        "shallow+fast-keras-mnist-s0": {"other"},
    }.items():
        folder = tmp_path / "reference" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        found = {key for key, c in chapters.items() if name in reference_runs(c, build)}
        assert found == readers, name
    assert chapters["pattern"].reads(build) == []
