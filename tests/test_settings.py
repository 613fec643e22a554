"""Profiles and the settings of a chapter."""

from dataclasses import replace
from pathlib import Path

import pytest

from caebook import data, files
from caebook import settings as profiles
from caebook.training import FAST_RECIPE, Recipe
from caebook.training.recipes import RATE_RECIPE


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    """Names resolve without looking for files; nothing is set in the environment."""
    answers = {"auto-digits": "glyph-digits", "auto-letters": "glyph-letters"}
    monkeypatch.setattr(data, "resolve", lambda name: answers.get(name, name))
    monkeypatch.delenv("CAEBOOK_PROFILE", raising=False)
    monkeypatch.delenv("CAEBOOK_ROOT", raising=False)


def test_defaults_when_a_chapter_is_run_by_hand():
    settings = profiles.configure()
    assert settings == profiles.configure(None, None, None, None, None)
    assert (settings.profile, settings.seed) == ("reader", 0)
    assert settings.digits == "glyph-digits"
    assert settings.runs_dir == files.root() / "build" / "reader" / "runs"
    assert settings.runs_dir.is_absolute()


def test_parameters_win_over_defaults(tmp_path, monkeypatch):
    monkeypatch.setenv("CAEBOOK_PROFILE", "full")
    both = ("digits", "letters")
    settings = profiles.configure(
        "smoke", "mnist", "emnist-letters", 7, str(tmp_path), uses=both
    )
    assert settings == profiles.Settings(
        "smoke", "mnist", "emnist-letters", 7, tmp_path, both
    )


def test_profile_from_the_environment(monkeypatch):
    monkeypatch.setenv("CAEBOOK_PROFILE", "smoke")
    assert profiles.configure().profile == "smoke"
    monkeypatch.setenv("CAEBOOK_PROFILE", "")
    assert profiles.configure().profile == "reader"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"profile": "fast"}, "'fast'.*smoke, reader, full"),
        ({"seed": -1}, "seed -1"),
        ({"seed": "0"}, "seed '0'"),
        ({"seed": 1.0}, "seed 1.0"),
        ({"seed": True}, "seed True"),
        ({"uses": ("faces",)}, "faces"),
        ({"uses": ()}, "digits or letters"),
    ],
)
def test_invalid_argument_is_named(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        profiles.configure(**arguments)


def test_unknown_data_set_is_refused(monkeypatch):
    def resolve(name):
        raise data.DataError(f"{name} is not known")

    monkeypatch.setattr(data, "resolve", resolve)
    with pytest.raises(data.DataError, match="faces"):
        profiles.configure(digits="faces")


@pytest.mark.parametrize(
    ("uses", "resolved"),
    [
        (("digits",), ["auto-digits"]),
        (("letters",), ["emnist-letters"]),
        (("digits", "letters"), ["auto-digits", "emnist-letters"]),
    ],
)
def test_only_data_that_the_chapter_uses_are_looked_for(monkeypatch, uses, resolved):
    asked = []
    monkeypatch.setattr(data, "resolve", lambda name: asked.append(name) or name)
    settings = profiles.configure(letters="emnist-letters", uses=uses)
    assert asked == resolved
    used = [use for use in ("digits", "letters") if getattr(settings, use) is not None]
    assert used == list(uses)


def test_digits_and_letters_are_two_data_sets():
    same = "glyph-letters"
    with pytest.raises(ValueError, match=r"both 'glyph-letters'.*choose another"):
        profiles.configure(digits=same, uses=("digits", "letters"))
    assert profiles.configure(digits=same).digits == same  # alone, they may be letters


# --- recipes ----------------------------------------------------------------------


def test_recipes_are_what_the_sources_say():
    adam = Recipe(optimizer="adam", learning_rate=1e-3, train_images=60_000)
    for system, loss, epochs, batch_size in (
        ("shallow", "bce", 50, 128),
        ("deep", "bce", 50, 128),
        ("dcnn", "mse", 30, 128),
        ("transposed", "mse", 30, 20),
        ("code16", "bce", 20, 32),
    ):
        stated = replace(adam, loss=loss, epochs=epochs, batch_size=batch_size)
        assert profiles.SOURCE_RECIPES[system] == stated


def test_ours_leaves_the_images_it_was_chosen_on_untrained():
    assert FAST_RECIPE.train_images == 60_000 - data.VALIDATION
    assert FAST_RECIPE not in profiles.SOURCE_RECIPES.values()
    assert RATE_RECIPE.train_images == 60_000 - data.VALIDATION


@pytest.mark.parametrize("system", profiles.SOURCE_RECIPES)
def test_full_is_the_source_recipe_and_the_others_only_shorten_it(system):
    source = profiles.SOURCE_RECIPES[system]
    assert profiles.configure("full").recipe(system) == source
    assert source.train_images == (55_000 if system.startswith("rate") else 60_000)
    for profile in ("smoke", "reader"):
        short = profiles.configure(profile).recipe(system)
        assert short.epochs < source.epochs and short.train_images < 55_000
        assert source == replace(
            short, epochs=source.epochs, train_images=source.train_images
        )


def test_smoke_trains_less_than_reader():
    for system in profiles.SOURCE_RECIPES:
        smoke, reader = (
            profiles.configure(profile).recipe(system)
            for profile in ("smoke", "reader")
        )
        seen = [recipe.epochs * recipe.train_images for recipe in (smoke, reader)]
        assert seen[0] <= 2_000 and seen[0] < seen[1] <= 200_000


def test_unknown_system():
    with pytest.raises(ValueError, match=r"'wide'.*shallow"):
        profiles.configure("full").recipe("wide")


def test_variants_tests_and_checkpoints_by_profile(tmp_path):
    smoke, reader, full = (
        profiles.configure(profile, runs_dir=tmp_path / profile / "runs")
        for profile in profiles.PROFILES
    )
    assert [s.variant for s in (smoke, reader, full)] == ["short", "short", "source"]
    changed = [s.variant_of("nearest") for s in (smoke, reader, full)]
    assert changed == ["nearest+short", "nearest+short", "nearest"]
    assert [s.test_images for s in (smoke, reader, full)] == [500, 10_000, 10_000]
    assert smoke.checkpoint("deep") is reader.checkpoint("deep") is None
    # outside the folder of runs, which the engine empties
    path = full.checkpoint("deep-keras-mnist-s0")
    assert path == tmp_path / "full" / "checkpoints" / "deep-keras-mnist-s0.npz"


# --- what the page says -----------------------------------------------------------


def test_notice_where_digits_are_drawn():
    markup = profiles.configure("smoke", seed=3)._repr_html_()
    assert "admonition warning" in markup and "MNIST" in markup
    assert "<code>glyph-digits</code>" in markup and "seed 3" in markup
    assert "letters" not in markup  # nothing on this page comes from them


def test_no_notice_on_real_data():
    markup = profiles.configure(digits="mnist")._repr_html_()
    assert "admonition" not in markup
    assert "<code>mnist</code>" in markup and "reader" in markup


@pytest.mark.parametrize(
    ("uses", "digits", "letters", "named", "not_named"),
    [
        (("letters",), "glyph-digits", "glyph-letters", "glyph-letters", "digits"),
        (("letters",), "glyph-digits", "emnist-letters", "emnist-letters", "warning"),
        (("digits", "letters"), "mnist", "glyph-letters", "real EMNIST", "real MNIST"),
        (
            ("digits", "letters"),
            "glyph-digits",
            "glyph-letters",
            "MNIST and EMNIST Letters",
            "uses",
        ),
    ],
)
def test_notice_names_only_the_data_that_the_page_uses(
    uses, digits, letters, named, not_named
):
    settings = profiles.configure(digits=digits, letters=letters, uses=uses)
    markup = settings._repr_html_()
    assert named in markup and not_named not in markup


def test_names_are_escaped():
    settings = profiles.Settings("reader", "glyph-<b>", "mnist", 0, Path("runs"))
    assert "<b>" not in settings._repr_html_()


# --- where things are -------------------------------------------------------------


def test_root_is_the_checkout():
    assert (files.root() / "_config.yml").is_file()


def test_root_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    assert files.root() == tmp_path
    assert profiles.configure("full").runs_dir == tmp_path / "build" / "full" / "runs"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAEBOOK_ROOT", "elsewhere")
    assert files.root() == tmp_path / "elsewhere"


def test_root_outside_a_checkout_is_the_current_folder(tmp_path, monkeypatch):
    installed = tmp_path / "lib" / "caebook" / "files.py"
    monkeypatch.setattr(files, "__file__", str(installed))
    monkeypatch.chdir(tmp_path)
    assert files.root() == tmp_path
