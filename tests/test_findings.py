"""Findings: the tables that chapters save for later chapters."""

import json
import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from caebook.errors import WriteError
from caebook.runs import findings
from caebook.runs.findings import FindingError
from caebook.settings import Settings

ROWS = [
    {"claim": "a “code” of 4×4×1", "runs": 2, "mse": 0.1 + 0.2, "held": True},
    {"claim": "", "runs": 0, "mse": None, "held": False, "note": "só"},
]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    return Settings("smoke", "mnist", "glyph-letters", 0, tmp_path / "runs")


def file_of(settings, name="05_claims") -> Path:
    return settings.runs_dir / "findings" / f"{name}.json"


# --- what is saved ----------------------------------------------------------------


def test_rows_make_a_round_trip(settings):
    findings.record("05_claims", ROWS, settings=settings)
    assert findings.load("05_claims", settings=settings) == ROWS
    content = json.loads(file_of(settings).read_text(encoding="utf-8"))
    assert content.pop("rows") and content == {
        "schema": 1,
        "profile": "smoke",
        "digits": "mnist",
        "letters": "glyph-letters",
        "seed": 0,
    }


def test_rows_may_be_none_or_come_from_a_generator(settings):
    findings.record("05_claims", [], settings=settings)
    assert findings.load("05_claims", settings=settings) == []
    findings.record("10_rates", ({"n": n} for n in range(3)), settings=settings)
    assert findings.load("10_rates", settings=settings) == [
        {"n": 0}, {"n": 1}, {"n": 2}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(12_544), 12_544),
        (np.uint8(7), 7),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("deep"), "deep"),
        (np.array(3), 3),
    ],
)
def test_numpy_scalars_become_pythons(settings, value, plain):
    findings.record("05_claims", [{"x": value}], settings=settings)
    ((found,),) = (
        row.values() for row in findings.load("05_claims", settings=settings)
    )
    assert found == plain and type(found) is type(plain)


def test_the_file_holds_readable_unicode(settings):
    findings.record("05_claims", ROWS, settings=settings)
    assert "“code” of 4×4×1" in file_of(settings).read_text(encoding="utf-8")


# --- what is refused --------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        -math.inf,
        np.float32("inf"),
        np.float64("nan"),
        [1, 2],
        {"a": 1},
        (1,),
        b"x",
        1j,
        object(),
        Decimal("0.5"),
        np.dtype("f4"),
        np.complex64(1),
        np.datetime64("2026-01-01"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_refused_by_row_and_column(settings, value):
    findings.record("05_claims", ROWS, settings=settings)
    with pytest.raises(FindingError, match="05_claims, row 1, 'mse': must be a text"):
        findings.record("05_claims", [{"mse": 0.5}, {"mse": value}], settings=settings)
    assert findings.load("05_claims", settings=settings) == ROWS


@pytest.mark.parametrize(
    "name",
    ["claims", "5_claims", "05-claims", "05_Claims", "05_", "../05_claims", "05_a/b",
     "05_claims.json", "05_claims\n", "05_a-", "05_a_b", ""],
)  # fmt: skip
def test_bad_names_are_refused_before_anything_is_written(settings, name):
    with pytest.raises(FindingError, match="is not a finding's name"):
        findings.record(name, ROWS, settings=settings)
    assert not settings.runs_dir.exists()


# --- what cannot be read ----------------------------------------------------------


def without(key):
    def change(content):
        del content[key]

    return change


def with_value(key, value):
    def change(content):
        content[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("schema"), "'schema'"),
        (without("rows"), "'rows'"),
        (without("seed"), "'seed'"),
        (with_value("schema", 2), "not a finding of schema 1"),
        (with_value("schema", "1"), "not a finding of schema 1"),
        (with_value("rows", 5), "not iterable"),
        (with_value("rows", ["text"]), "."),
        (with_value("rows", None), "not iterable"),
    ],
)
def test_other_content_is_refused_with_the_file_and_the_reason(
    settings, change, reason
):
    findings.record("05_claims", ROWS, settings=settings)
    content = json.loads(file_of(settings).read_text(encoding="utf-8"))
    change(content)
    file_of(settings).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FindingError, match=reason) as caught:
        findings.load("05_claims", settings=settings)
    assert str(file_of(settings)) in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: b"\xff\xfe" + content,
        lambda content: b"[]",
        lambda content: b"null",
        lambda content: b"3",
        lambda content: b"[" * 100_000,
    ],
    ids=["empty", "truncated", "not UTF-8", "a list", "null", "a number", "deep"],
)
def test_damaged_file_is_refused_with_what_to_do(settings, damage):
    findings.record("05_claims", ROWS, settings=settings)
    file = file_of(settings)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(FindingError, match=r"05_claims\.json cannot be used") as caught:
        findings.load("05_claims", settings=settings)
    assert "Run 'make book'" in str(caught.value)


def test_a_folder_in_place_of_the_file_is_refused(settings):
    file_of(settings).mkdir(parents=True)
    with pytest.raises(FindingError, match="cannot be used"):
        findings.load("05_claims", settings=settings)


def test_missing_finding_is_named_with_what_to_do(settings):
    with pytest.raises(FindingError) as caught:
        findings.load("08_claims", settings=settings)
    assert str(caught.value) == (
        f"there is no finding {file_of(settings, '08_claims')}. Run 'make book', which "
        "computes it."
    )


@pytest.mark.parametrize(
    ("change", "made_with"),
    [
        ({"profile": "reader"}, "smoke, mnist, glyph-letters, 0"),
        ({"digits": "glyph-digits"}, "smoke, mnist, glyph-letters, 0"),
        ({"letters": "emnist-letters"}, "smoke, mnist, glyph-letters, 0"),
        ({"seed": 1}, "smoke, mnist, glyph-letters, 0"),
    ],
)
def test_finding_of_other_settings_is_refused(settings, change, made_with):
    findings.record("05_claims", ROWS, settings=settings)
    with pytest.raises(FindingError, match="made with other settings") as caught:
        findings.load("05_claims", settings=replace(settings, **change))
    assert f"({made_with})" in str(caught.value)
    assert "Run 'make book'" in str(caught.value)
    same = replace(settings, uses=("digits", "letters"))
    assert findings.load("05_claims", settings=same) == ROWS


def test_letters_matter_only_where_both_use_them(settings):
    digits_only = replace(settings, letters=None)
    findings.record("05_claims", ROWS, settings=digits_only)
    assert findings.load("05_claims", settings=settings) == ROWS
    findings.record("08_claims", ROWS, settings=settings)
    assert findings.load("08_claims", settings=digits_only) == ROWS


# --- in reference/ ----------------------------------------------------------------


@pytest.fixture
def reference(settings, tmp_path):
    """A finding in ``reference/``, made by the profile reader."""
    made = replace(settings, profile="reader", runs_dir=tmp_path / "reference")
    findings.record("05_claims", ROWS, settings=made)
    return file_of(made)


def test_finding_of_reference_serves_where_the_build_has_none(
    settings, reference, capsys
):
    assert findings.load("05_claims", settings=settings) == ROWS
    assert capsys.readouterr().out == (
        "using the finding 05_claims (reference), made with profile reader\n"
    )
    drawn = replace(settings, profile="reader", digits="glyph-digits")
    assert findings.load("05_claims", settings=drawn) == ROWS
    assert "made with digits mnist\n" in capsys.readouterr().out
    findings.record("05_claims", ROWS[:1], settings=settings)
    assert findings.load("05_claims", settings=settings) == ROWS[:1]
    assert not capsys.readouterr().out


def test_finding_of_reference_must_be_sound_and_of_the_same_seed(settings, reference):
    with pytest.raises(FindingError, match=r"reference.*other settings \(reader"):
        findings.load("05_claims", settings=replace(settings, seed=1))
    reference.write_text("{")
    with pytest.raises(FindingError, match=r"reference.*cannot be used"):
        findings.load("05_claims", settings=settings)


# --- writing ----------------------------------------------------------------------


def test_a_later_finding_replaces_the_earlier(settings):
    findings.record("05_claims", ROWS * 100, settings=settings)
    findings.record("05_claims", ROWS[:1], settings=settings)
    assert findings.load("05_claims", settings=settings) == ROWS[:1]
    assert [path.name for path in file_of(settings).parent.iterdir()] == [
        "05_claims.json"
    ]
    assert file_of(settings).stat().st_mode & 0o777 == 0o644


def test_a_file_in_place_of_the_folder_is_reported(settings):
    settings.runs_dir.mkdir()
    (settings.runs_dir / "findings").write_text("in the way")
    with pytest.raises(WriteError, match=r"05_claims\.json: cannot be written"):
        findings.record("05_claims", ROWS, settings=settings)
    assert (settings.runs_dir / "findings").read_text() == "in the way"


def test_rows_that_fail_half_way_leave_nothing(settings):
    def rows():
        yield {"n": 1}
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        findings.record("05_claims", rows(), settings=settings)
    assert not file_of(settings).exists()
