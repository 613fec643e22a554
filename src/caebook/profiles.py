"""How much each recipe trains, and the settings that every chapter starts from."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from caebook import data
from caebook.training import Recipe

PROFILES = ("smoke", "reader", "full")

# What the sources did; their own words and numbers are cited in the chapters.
SOURCE_RECIPES = {
    "classifier": Recipe(loss="crossentropy", epochs=10),
    "shallow": Recipe(loss="bce", epochs=50),
    "deep": Recipe(loss="bce", epochs=50),
}

# (epochs, training images) of the brief live training, chosen to fit the time budgets.
SHORT = {
    "smoke": {"classifier": (2, 1_000), "shallow": (2, 500), "deep": (2, 500)},
    "reader": {
        "classifier": (2, 20_000),
        "shallow": (4, 10_000),
        "deep": (4, 10_000),
    },
}
SMOKE_TEST_IMAGES = 500


@dataclass(frozen=True)
class Settings:
    """What a chapter is run with; see `configure`."""

    profile: str
    digits: str
    letters: str
    seed: int
    runs_dir: Path

    @property
    def variant(self) -> str:
        """Variant of the runs that this profile trains: ``source`` or ``short``."""
        return "source" if self.profile == "full" else "short"

    @property
    def test_images(self) -> int:
        """How many test images runs are scored on."""
        return SMOKE_TEST_IMAGES if self.profile == "smoke" else 10_000

    def recipe(self, system: str) -> Recipe:
        """The recipe of `system`: the source's, shortened unless profile is full."""
        recipe = SOURCE_RECIPES[system]
        if self.profile == "full":
            return recipe
        epochs, images = SHORT[self.profile][system]
        return replace(recipe, epochs=epochs, train_images=images)

    def checkpoint(self, name: str) -> Path | None:
        """Where a long training of `name` saves its state; brief ones need no file."""
        if self.profile != "full":
            return None
        return self.runs_dir.parent / "checkpoints" / f"{name}.npz"

    def _repr_html_(self) -> str:
        note = (
            f"<p>Profile <strong>{self.profile}</strong> · digits "
            f"<code>{escape(self.digits)}</code> · seed {self.seed}</p>"
        )
        if not self.digits.startswith("glyph-"):
            return note
        return note + (
            '<div class="admonition warning stand-in-data">'
            '<p class="admonition-title">Stand-in data</p>'
            "<p>The real MNIST could not be had when this page was computed. Every "
            f"number and picture below comes from <code>{escape(self.digits)}</code>: "
            "digits drawn from Matplotlib’s fonts. Figures quoted from other projects "
            "were measured on MNIST and are not comparable.</p></div>"
        )


def root() -> Path:
    """The project's folder: ``$CAEBOOK_ROOT``, the checkout, or the current folder."""
    if chosen := os.environ.get("CAEBOOK_ROOT"):
        return Path(chosen).absolute()
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "_config.yml").exists() else Path.cwd()


def configure(
    profile: str | None = None,
    digits: str | None = None,
    letters: str | None = None,
    seed: int | None = None,
    runs_dir: str | Path | None = None,
) -> Settings:
    """Settle what a chapter is run with; whatever is None gets its default.

    Parameters
    ----------
    profile : "smoke", "reader" (default, or ``$CAEBOOK_PROFILE``) or "full"
    digits, letters : data set names; default ``auto-digits`` and ``auto-letters``
    seed : seed of initial weights, batch order and splits; default 0
    runs_dir : where runs are written; default ``build/<profile>/runs``

    Raises
    ------
    ValueError
        If the profile is not known.
    caebook.data.DataError
        If a data set is not known or cannot be had.
    """
    profile = profile or os.environ.get("CAEBOOK_PROFILE", "reader")
    if profile not in PROFILES:
        raise ValueError(f"profile {profile!r} is not one of {', '.join(PROFILES)}")
    return Settings(
        profile=profile,
        digits=data.resolve(digits or "auto-digits"),
        letters=data.resolve(letters or "auto-letters"),
        seed=0 if seed is None else int(seed),
        runs_dir=Path(runs_dir or root() / "build" / profile / "runs").absolute(),
    )
