"""Claims as data: what an entry must have, and how it is judged."""

import json
from types import SimpleNamespace

import pytest

from caebook.errors import ClaimError
from caebook.files import root
from caebook.page import claims
from caebook.page.claims import Claim, judge
from caebook.settings import Settings

ENTRY = {
    "chapter": "04_deep",
    "source": "Someone’s project",
    "system": "deep",
    "claim": "test MSE",
    "place": "README",
    "quote": "MSE was 0.0003",
}
CLAIMS = claims.read()


def test_every_claim_belongs_to_a_chapter():
    assert CLAIMS
    pages = {path.stem for path in (root() / "notebooks").glob("*.ipynb")}
    assert {claim.chapter for claim in CLAIMS.values()} <= pages


def number(**changes) -> Claim:
    return Claim(**{**ENTRY, "value": 0.01, "tolerance": 0.1, **changes})


@pytest.mark.parametrize(
    ("claim", "value", "verdict"),
    [
        (number(), 0.0109, "confirmed"),
        (number(), 0.0112, "not confirmed"),
        (number(), 0.0088, "not confirmed"),
        (number(), None, "undecided"),
        (number(value=16.0, tolerance=0.0), 16, "confirmed"),
        (number(value=16.0, tolerance=0.0), 17, "not confirmed"),
        (number(tolerance=None, factor=2.0), 0.0199, "confirmed"),
        (number(tolerance=None, factor=2.0), 0.0201, "not confirmed"),
        (number(tolerance=None, factor=2.0), 0.0051, "confirmed"),
        (number(tolerance=None, factor=2.0), 0.0049, "not confirmed"),
        (number(tolerance=None, factor=2.0, floor=0.009), 0.0109, "confirmed"),
        (number(tolerance=None, factor=2.0, floor=0.009), 0.0111, "not confirmed"),
        (number(tolerance=None, factor=2.0, floor=0.009), 0.0094, "not confirmed"),
        (Claim(**ENTRY), True, "confirmed"),
        (Claim(**ENTRY), False, "not confirmed"),
    ],
)
def test_a_measurement_is_judged(claim, value, verdict):
    assert judge(claim, value) == verdict


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (number(), "within 10 %"),
        (number(tolerance=0.0), "equal"),
        (number(tolerance=None, factor=2.22), "within a factor of 2.22"),
        (
            number(tolerance=None, factor=2.0, floor=0.009),
            "within a factor of 2 of its distance above 0.009",
        ),
        (Claim(**ENTRY), None),
    ],
)
def test_a_claim_says_how_near_a_measurement_must_be(claim, words):
    assert claim.criterion == words


@pytest.mark.parametrize(
    ("claim", "value"), [(number(), True), (Claim(**ENTRY), 0.1), (number(), "0.01")]
)
def test_a_number_and_a_truth_value_are_not_mixed_up(claim, value):
    with pytest.raises(ClaimError, match="test MSE"):
        judge(claim, value)


def claims_file(folder, **entries):
    (folder / "book").mkdir(exist_ok=True)
    path = folder / "book" / "claims.yml"
    path.write_text(json.dumps(entries))  # JSON is YAML
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quote": None}, "either quote or derived"),
        ({"derived": "from a table"}, "either quote or derived"),
        ({"value": 0.1}, "goes together"),
        ({"factor": 2.0}, "goes together"),
        ({"value": 0.1, "tolerance": 0.1, "factor": 2.0}, "goes together"),
        ({"value": 0.1, "factor": 0.5}, "1 or more"),
        ({"value": 0.1, "factor": 2.0, "floor": 0.1}, "above the floor"),
        ({"verdict": "confirmed"}, "verdict"),
        ({"place": None}, "place"),
        ({"value": "0.1", "tolerance": 0.1}, "value"),
        ({"training": True}, "training"),
    ],
)
def test_an_invalid_entry_is_named(tmp_path, change, message):
    path = claims_file(tmp_path, good=ENTRY, bad={**ENTRY, **change})
    with pytest.raises(ClaimError, match=message) as caught:
        claims.read(path)
    assert "claims.yml, bad" in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "claims.yml").write_text("- {")
    for path in (tmp_path / "claims.yml", tmp_path / "missing.yml"):
        with pytest.raises(ClaimError, match=path.name):
            claims.read(path)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("CAEBOOK_ROOT", str(tmp_path))
    trained = {**ENTRY, "value": 0.01, "tolerance": 0.1, "training": "source"}
    derived = {**ENTRY, "quote": None, "derived": "from its table", "claim": "code 7×7"}
    other = {**ENTRY, "chapter": "05_bottleneck"}
    claims_file(tmp_path, mse=trained, shape=derived, elsewhere=other)
    return Settings("smoke", "mnist", None, 0, tmp_path / "runs")


def run(framework: str, comparable: bool):
    record = SimpleNamespace(system="deep", framework=framework)
    return SimpleNamespace(record=record, comparable=comparable)


def test_a_chapters_claims_are_judged_shown_and_recorded(project):
    shape = {"keras": (True, "7×7×128"), "torch": (True, "7×7×128")}
    table = claims.table(
        "04_deep",
        {"mse": {"keras": 0.0101, "torch": 0.02}, "shape": shape},
        runs=[run("keras", True), run("torch", False)],
        settings=project,
    )
    first, second = table.rows
    assert first["verdict"] == "Keras: confirmed; PyTorch: not comparable"
    assert (first["Keras"], first["claimed"]) == ("0.0101", "0.01")
    assert first["words"] == "“MSE was 0.0003”"
    assert second["verdict"] == "confirmed" and second["PyTorch"] == "7×7×128"
    assert second["words"] == "(from its table)"
    finding = json.loads((project.runs_dir / "findings/04_claims.json").read_text())
    assert [row["verdict"] for row in finding["rows"]] == [
        first["verdict"], second["verdict"]
    ]  # fmt: skip
    assert finding["rows"][0]["source"] == "Someone’s project"
    assert [row["criterion"] for row in finding["rows"]] == ["within 10 %", None]


def test_a_run_that_is_missing_is_not_comparable(project):
    measured = {"mse": {"torch": 0.01}, "shape": {"torch": True}}
    (first, second) = claims.table("04_deep", measured, settings=project).rows
    assert first["verdict"] == "not comparable" and second["verdict"] == "confirmed"
    assert first["Keras"] == "–"


def test_a_claim_about_any_training_needs_no_full_one(project):
    claims_file(root(), lower={**ENTRY, "training": "any"})
    table = claims.table("04_deep", {"lower": {"torch": True}}, settings=project)
    assert table.rows[0]["verdict"] == "confirmed"


def test_a_number_of_other_images_is_never_compared(project):
    path = claims_file(root(), mse={**ENTRY, "value": 0.01, "tolerance": 0.1,
                                    "data": "another alphabet"})  # fmt: skip
    assert claims.read(path)["mse"].data == "another alphabet"
    table = claims.table("04_deep", {"mse": {"torch": 0.01}}, settings=project)
    assert table.rows[0]["verdict"] == "not comparable"


@pytest.mark.parametrize(
    "measured", [{"mse": {"torch": 0.01}}, {"mse": {}, "shape": {}, "third": {}}]
)
def test_every_claim_must_be_measured(project, measured):
    with pytest.raises(ClaimError, match=r"differ in: (shape|third)"):
        claims.table("04_deep", measured, settings=project)


def test_a_claim_needs_a_framework_that_measured_it(project):
    with pytest.raises(ClaimError, match="mse was measured in no framework"):
        claims.table("04_deep", {"mse": {}, "shape": {"torch": True}}, settings=project)
