"""Settings of a chapter: its profile, data sets, seed, and where runs are."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path

from caebook import data
from caebook.files import root
from caebook.training.recipes import BRIEF, SOURCE_RECIPES, Recipe

PROFILES = ("smoke", "reader", "full")

SMOKE_TEST_IMAGES = 500

# The data sets that the drawn ones replace.
REAL = {"digits": "MNIST", "letters": "EMNIST Letters"}


@dataclass(frozen=True)
class Settings:
    """Profile, data sets, seed and folder of a chapter's run; see `configure`.

    A data set that the chapter does not use is None.
    """

    profile: str
    digits: str | None
    letters: str | None
    seed: int
    runs_dir: Path = field(repr=False)  # pages keep the repr: no path of this machine
    uses: tuple[str, ...] = ("digits",)

    @property
    def variant(self) -> str:
        """Variant of the runs that this profile trains: ``source`` or ``short``."""
        return "source" if self.profile == "full" else "short"

    def variant_of(self, change: str) -> str:
        """Variant of the runs of a changed network: ``nearest`` or ``nearest+short``.

        Parameters
        ----------
        change : what differs from the source's network or data, in lower-case words
        """
        return change if self.profile == "full" else f"{change}+short"

    @property
    def test_images(self) -> int:
        """How many test images runs are scored on."""
        return SMOKE_TEST_IMAGES if self.profile == "smoke" else 10_000

    @property
    def validation_images(self) -> int:
        """How many images a training is validated on, at most.

        After a brief training a brief look will do.
        """
        return {"smoke": SMOKE_TEST_IMAGES, "reader": 1_000}.get(self.profile, 10_000)

    def recipe(self, system: str) -> Recipe:
        """The recipe of `system`: the source's, shortened unless profile is full.

        Raises
        ------
        ValueError
            If there is no recipe for `system`.
        """
        if system not in SOURCE_RECIPES:
            known = ", ".join(SOURCE_RECIPES)
            raise ValueError(f"system {system!r} has no recipe; known are: {known}")
        recipe = SOURCE_RECIPES[system]
        if self.profile == "full":
            return recipe
        epochs, images = BRIEF[self.profile][system]
        return replace(recipe, epochs=epochs, train_images=images)

    def checkpoint(self, name: str) -> Path | None:
        """The checkpoint of a long training; None for a brief one, which needs none."""
        if self.profile != "full":
            return None
        return self.runs_dir.parent / "checkpoints" / f"{name}.npz"

    def _repr_html_(self) -> str:
        names = {use: getattr(self, use) for use in self.uses}
        data_sets = " · ".join(
            f"{use} <code>{escape(name)}</code>" for use, name in names.items()
        )
        note = (
            f"<p>Profile <strong>{self.profile}</strong> · {data_sets} · "
            f"seed {self.seed}</p>"
        )
        drawn = [use for use, name in names.items() if name.startswith("glyph-")]
        if not drawn:
            return note
        real = " and ".join(REAL[use] for use in drawn)
        stand_ins = " and ".join(f"<code>{escape(names[use])}</code>" for use in drawn)
        return note + (
            '<div class="admonition warning stand-in-data">'
            '<p class="admonition-title">Stand-in data</p>'
            f"<p>This page was computed without the real {real}, but with "
            f"{stand_ins}: {' and '.join(drawn)} drawn from Matplotlib’s fonts. "
            f"What other projects report on {' and '.join(drawn)} was measured on "
            "other data and is not comparable.</p></div>"
        )


def configure(
    profile: str | None = None,
    digits: str | None = None,
    letters: str | None = None,
    seed: int | None = None,
    runs_dir: str | Path | None = None,
    *,
    uses: tuple[str, ...] = ("digits",),
) -> Settings:
    """Settings of a chapter; a parameter that is None gets its default.

    Parameters
    ----------
    profile : "smoke", "reader" (default, or ``$CAEBOOK_PROFILE``) or "full"
    digits, letters : data set names; default ``auto-digits`` and ``auto-letters``.
        What the chapter does not use is not looked for.
    seed : seed of initial weights, batch order and splits; default 0
    runs_dir : where runs are written; default ``build/<profile>/runs``
    uses : "digits", "letters" or both: the data sets of the page

    Raises
    ------
    ValueError
        If profile, seed or uses are invalid, or digits and letters are the same.
    caebook.data.DataError
        If a data set is unknown or not available.
    """
    profile = profile or os.environ.get("CAEBOOK_PROFILE") or "reader"
    if profile not in PROFILES:
        raise ValueError(f"profile {profile!r} is not one of {', '.join(PROFILES)}")
    seed = 0 if seed is None else seed
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed {seed!r} must be a whole number, 0 or above")
    if not uses or not set(uses) <= REAL.keys():
        raise ValueError(f"uses={uses!r} must name {' or '.join(REAL)}")
    chosen = {"digits": digits, "letters": letters}
    names = {use: data.resolve(chosen[use] or f"auto-{use}") for use in uses}
    if len(set(names.values())) < len(names):
        raise ValueError(same_data(names["digits"]))
    return Settings(
        profile=profile,
        digits=names.get("digits"),
        letters=names.get("letters"),
        seed=seed,
        runs_dir=Path(runs_dir or root() / "build" / profile / "runs").absolute(),
        uses=tuple(uses),
    )


def same_data(name: str) -> str:
    """The message for digits and letters that are one and the same data set."""
    return (
        f"digits and letters are both {name!r}, but the book compares two data sets: "
        "choose another for one of them"
    )
