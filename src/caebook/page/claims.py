"""The sources' claims, and what became of them: ``book/claims.yml``.

A claim is data: who said it, in which words and where, and how it is judged. A chapter
measures; `table` judges, shows, and records the finding that the audit reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Number
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from caebook.errors import ClaimError
from caebook.files import root
from caebook.page.tables import Table
from caebook.runs import Run, findings
from caebook.settings import Settings
from caebook.validation import STRICT, describe

FRAMEWORKS = {"keras": "Keras", "torch": "PyTorch"}

Value = Number | bool | str | None


class Claim(BaseModel):
    """What a source claims, or what follows from what it shows.

    Attributes
    ----------
    chapter : the chapter that measures it, e.g. "04_deep"
    source : the project's name
    system : the network that the claim is about
    claim : in our words, short
    quote : the source's own words, verbatim; None for a claim that is derived
    derived : from what it follows, if the source does not state it
    place : where in the source
    value : the claimed number; None for a claim that is true or false
    tolerance : by what share ours may differ from it
    factor, floor : in place of a tolerance, how many times as far from the floor (0 by
        default) ours may be, or how many times nearer to it
    training : whether it is about a trained network: "source" if only one after the
        source's whole training can be compared, "any" if ours will do
    data : the source's images, where this book does not have them: what it measured
        on them can never be compared
    """

    model_config = ConfigDict(**{**STRICT, "extra": "forbid"}, frozen=True)

    chapter: str
    source: str
    system: str
    claim: str
    place: str
    quote: str | None = None
    derived: str | None = None
    value: float | None = None
    tolerance: float | None = None
    factor: float | None = None
    floor: float = 0.0
    training: Literal["source", "any"] | None = None
    data: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Claim:
        if (self.quote is None) == (self.derived is None):
            raise ValueError("needs either quote or derived")
        widths = [self.tolerance, self.factor].count(None)
        if (self.value is None) != (widths == 2) or widths == 0:
            raise ValueError("value goes together with either tolerance or factor")
        if self.factor is not None and (self.factor < 1 or self.value <= self.floor):
            raise ValueError("factor must be 1 or more, and value above the floor")
        return self

    @property
    def criterion(self) -> str | None:
        """How near ours must be: "equal", "within 10 %" or "within a factor of 2".

        A floor is named, as in "within a factor of 2 of its distance above 0.0581".
        None for a claim that is true or false.
        """
        if self.value is None:
            return None
        if self.factor is not None:
            distance = f" of its distance above {self.floor:g}" if self.floor else ""
            return f"within a factor of {self.factor:g}{distance}"
        return f"within {100 * self.tolerance:.3g} %" if self.tolerance else "equal"

    def holds(self, value: float) -> bool:
        """Whether a measured number is as near to the claimed one as it must be."""
        if self.factor is None:
            return math.isclose(value, self.value, rel_tol=self.tolerance)
        ratio = (value - self.floor) / (self.value - self.floor)
        return 1 / self.factor <= ratio <= self.factor


def read(path: Path | None = None) -> dict[str, Claim]:
    """All claims by their names, in the order of the chapters.

    Raises
    ------
    ClaimError
        If the file cannot be read or an entry is invalid.
    """
    path = path or root() / "book" / "claims.yml"
    name = ""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        claims = {}
        for name, entry in dict(entries).items():
            claims[name] = Claim(**entry)
    except ValidationError as error:
        raise ClaimError(f"{path}, {name}: {describe(error)}") from error
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise ClaimError(f"{path}: cannot be read: {error}") from error
    return claims


Verdict = Literal["confirmed", "not confirmed", "undecided", "not comparable"]


def judge(claim: Claim, value: Value) -> Verdict:
    """The verdict on what was measured in one framework.

    A number is confirmed within the claim's tolerance or factor, a truth value if it
    is True.
    None is undecided.

    Raises
    ------
    ClaimError
        If the claim is a number and the measurement is not, or the other way round.
    """
    if value is None:
        return "undecided"
    truth = isinstance(value, bool) or type(value).__name__ == "bool"
    if truth != (claim.value is None) or not (truth or isinstance(value, Number)):
        wanted = "true or false" if claim.value is None else "a number"
        raise ClaimError(f"{claim.claim!r} is {wanted}; what was measured is {value!r}")
    if truth:
        return "confirmed" if value else "not confirmed"
    return "confirmed" if claim.holds(value) else "not confirmed"


def table(
    chapter: str,
    measured: Mapping[str, Mapping[str, Value | tuple[Value, str]]],
    *,
    runs: Sequence[Run] = (),
    settings: Settings,
) -> Table:
    """Judge a chapter's claims, record them as its finding, and show them.

    Parameters
    ----------
    chapter : e.g. "04_deep"; the finding is ``04_claims``
    measured : for each claim of the chapter, by its name in ``claims.yml``, what was
        measured in "keras" and "torch" (or one of them): a number, a truth value or
        None, and beside it, if the number alone says too little, a text to show
    runs : those that were measured: claims about trained networks are comparable only
        if the run of their system and framework had the source's whole recipe

    Raises
    ------
    ClaimError
        If a claim of the chapter was not measured, is unknown, or is of another kind
        than what was measured.
    """
    claims = {k: claim for k, claim in read().items() if claim.chapter == chapter}
    if claims.keys() != measured.keys():
        wrong = ", ".join(sorted(claims.keys() ^ measured.keys()))
        raise ClaimError(f"{chapter}: claims.yml and the chapter differ in: {wrong}")
    rows = []
    for name, claim in claims.items():
        shown, verdicts = {}, {}
        for framework, label in FRAMEWORKS.items():
            value = measured[name].get(framework)
            value, text = value if isinstance(value, tuple) else (value, None)
            shown[label] = _show(value) if text is None else text
            if framework in measured[name]:
                verdicts[label] = _verdict(claim, value, framework, runs)
        if not verdicts:
            raise ClaimError(f"{chapter}: {name} was measured in no framework")
        first, *others = dict.fromkeys(verdicts.values())
        differ = "; ".join(f"{label}: {v}" for label, v in verdicts.items())
        rows.append(
            {
                "system": claim.system,
                "claim": claim.claim,
                "verdict": differ if others else first,
                "claimed": "–" if claim.value is None else _show(claim.value),
                "criterion": claim.criterion,
                **shown,
                "source": claim.source,
                "place": claim.place,
                "words": f"“{claim.quote}”" if claim.quote else f"({claim.derived})",
            }
        )
    findings.record(f"{chapter.partition('_')[0]}_claims", rows, settings=settings)
    columns = ("claim", "verdict", "claimed", *FRAMEWORKS.values(), "words")
    shown = [{column: row[column] for column in columns} for row in rows]
    return Table(shown, caption="What the source claims, and what we measured.")


def _verdict(
    claim: Claim, value: Value, framework: str, runs: Sequence[Run]
) -> Verdict:
    if claim.data is not None:
        return "not comparable"
    if claim.training == "source":
        own = [
            run
            for run in runs
            if (run.record.system, run.record.framework) == (claim.system, framework)
        ]
        if not own or not all(run.comparable for run in own):
            return "not comparable"
    return judge(claim, value)


def _show(value: Value) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
