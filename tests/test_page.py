"""What notebooks put on a page: values in the text, tables and files to save."""

import base64
import csv
import html
import io
import json
import re
from dataclasses import replace
from decimal import Decimal
from importlib import metadata

import numpy as np
import pandas
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat import v4

from caebook import page
from caebook.data import Dataset
from caebook.provenance import git_version
from caebook.settings import Settings


def published(call) -> list[dict]:
    """What `call` displays in an IPython shell, as a notebook would store it."""
    InteractiveShell.instance()
    with capture_output() as captured:
        call()
    return [
        {"data": dict(out.data), "metadata": dict(out.metadata)}
        for out in captured.outputs
    ]


# --- glue -------------------------------------------------------------------------


def test_glue_writes_what_myst_nb_writes():
    myst_nb = pytest.importorskip("myst_nb")
    ours = published(lambda: page.glue("mse", 0.00012, ".5f"))
    theirs = published(lambda: myst_nb.glue("mse", "0.00012", display=False))
    assert ours == theirs


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (np.float32(0.25), ".1%", "25.0 %"),
        ("20% higher, or 7 %", "", "20 % higher, or 7 %"),
        (12_544, ",", "12,544"),
        (np.int64(74_497), ",", "74,497"),
        (0.5, "", "0.5"),
        ("keras <3", "", "keras <3"),
        ("it's", "", "it's"),
    ],
)
def test_text_gets_the_formatted_value_and_the_cell_shows_nothing(value, spec, text):
    myst_nb = pytest.importorskip("myst_nb.ext.glue")
    variables = pytest.importorskip("myst_nb.core.variables")
    (ours,) = published(lambda: page.glue("x", value, spec))
    cell = v4.new_code_cell("", outputs=[v4.new_output("display_data", **ours)])
    ((name, output),) = myst_nb.extract_glue_data_cell(cell)
    shown = variables.format_plain_text(output["data"]["text/plain"], "")
    assert (name, shown) == ("x", text)
    assert cell.outputs == []


def test_glue_refuses_a_spec_that_does_not_fit():
    with pytest.raises((TypeError, ValueError)):
        page.glue("x", None, ".3f")


# --- tables -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (74_497, "74,497"),
        (np.int64(12_544), "12,544"),
        (np.uint8(7), "7"),
        (0.058_64, "0.05864"),
        (8.03e-5, "8.03e-05"),
        (np.float32(21.6), "21.6"),
        (np.float64(0.0), "0"),
        (12_345.678, "12,346"),
        (-1_234.5, "-1,234"),
        (1e12, "1e+12"),
        (float("inf"), "inf"),
        (Decimal("0.5"), "0.5"),
        (None, "–"),
        (True, "True"),
        (np.True_, "True"),
        ("deep", "deep"),
        ((14, 14, 64), "(14, 14, 64)"),
    ],
)
def test_table_writes_values(value, text):
    shown = page.table([{"x": value}])
    assert repr(shown).split("\n")[1].strip() == text
    assert cells(shown)[1] == [text]


def cells(table: page.Table) -> list[list[str]]:
    """Texts of a table's HTML, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", table._repr_html_())
    found = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
    return [[html.unescape(text) for text in row] for row in found]


def test_table_keeps_columns_in_order_and_fills_gaps():
    shown = page.table([{"a": 1, "b": "x"}, {"b": "y", "c": 2.5}])
    assert cells(shown) == [["a", "b", "c"], ["1", "x", "–"], ["–", "y", "2.5"]]


def test_table_escapes_html_in_headers_and_cells():
    shown = page.table([{"<b>&": '<script>alert("x")</script>', 5: "a & b"}])
    markup = shown._repr_html_()
    assert "<script>" not in markup and "<b>" not in markup
    assert cells(shown) == [["<b>&", "5"], ['<script>alert("x")</script>', "a & b"]]


def test_columns_of_numbers_are_aligned_to_the_right():
    rows = [
        {"system": "deep", "mse": None, "mixed": 1, "empty": None},
        {"system": "shallow", "mse": np.float32(0.5), "mixed": "two", "empty": None},
    ]
    right = re.findall(r"<(t[dh])[^>]*text-right[^>]*>", page.table(rows)._repr_html_())
    assert right == ["th", "td", "td"]


def test_table_as_text():
    rows = [{"system": "deep", "n": 332_801}, {"system": "shallow", "n": 7}]
    assert repr(page.table(rows)) == (
        "system         n\ndeep     332,801\nshallow        7"
    )


def test_table_takes_any_iterable_and_keeps_its_own_rows():
    row = {"a": 1}
    shown = page.table(row for _ in range(1))
    row["a"] = 2
    assert cells(shown) == [["a"], ["1"]]
    assert cells(page.table([])) == [[]]
    assert repr(page.table([])) == ""


# --- sortable tables --------------------------------------------------------------


def test_only_sortable_tables_are_marked_and_hold_values_in_full():
    rows = [{"run": "deep", "mse": 1 / 3}]
    plain, sortable = page.table(rows), page.table(rows, sortable=True)
    assert "sortable" not in plain._repr_html_()
    assert "data-value" not in plain._repr_html_()
    assert '<table class="table sortable">' in sortable._repr_html_()
    assert ' data-value="0.3333333333333333">0.3333<' in sortable._repr_html_()
    assert cells(sortable) == cells(plain) and repr(sortable) == repr(plain)


@pytest.mark.parametrize(
    ("value", "attribute"),
    [
        (12_544, "12544"),
        (np.int64(-7), "-7"),
        (10**17 + 1, "100000000000000001"),
        (np.float64(8.03e-5), "8.03e-05"),
        (np.float32(0.5), "0.5"),
        (Decimal("0.5"), "0.5"),
        (float("inf"), "Infinity"),
        (-np.inf, "-Infinity"),
        (float("nan"), ""),
        (np.float32("nan"), ""),
        (None, ""),
        ("1.5", None),
        (True, None),
        ("", None),
    ],
)
def test_value_by_which_a_cell_is_sorted(value, attribute):
    markup = page.table([{"run": "x", "n": value}], sortable=True)._repr_html_()
    found = re.findall(r'<td[^>]* data-value="([^"]*)"', markup)
    assert found == ([] if attribute is None else [attribute])


def test_headers_tell_screen_readers_what_they_head():
    rows = [{"n": 1, "run": "deep"}, {"n": None, "run": "shallow"}]
    scopes = r'<th scope="(col|row)"'
    plain, sortable = page.table(rows), page.table(rows, sortable=True)
    assert re.findall(scopes, plain._repr_html_()) == ["col", "col"]
    assert re.findall(scopes, sortable._repr_html_()) == ["col", "col", "row", "row"]


# --- files to save ----------------------------------------------------------------

AWKWARD = [
    {"claim": 'a "code", of\n4×4', "mse": 0.1 + 0.2, "n": 3, "held": True},
    {"claim": "", "mse": None, "n": np.int64(4), "held": np.False_},
    {"claim": " ; \t'", "mse": np.float32(0.5), "n": 10**17 + 1, "more": "–"},
]
PLAIN = [
    {"claim": 'a "code", of\n4×4', "mse": 0.1 + 0.2, "n": 3, "held": True},
    {"claim": "", "mse": None, "n": 4, "held": False},
    {"claim": " ; \t'", "mse": 0.5, "n": 10**17 + 1, "more": "–"},
]


def saved(files: page.Downloads) -> dict[str, bytes]:
    """The files behind the links of the HTML, by the name that each is saved under."""
    links = re.findall(
        r'<a download="([^"]+)" href="data:([^"]+);base64,([A-Za-z0-9+/=]+)">',
        files._repr_html_(),
    )
    assert [kind for _, kind, _ in links] == [
        "text/csv;charset=utf-8", "application/json;charset=utf-8"
    ]  # fmt: skip
    return {name: base64.b64decode(content) for name, _, content in links}


def test_json_file_holds_the_rows_and_where_they_come_from():
    files = saved(page.downloads("all-runs", AWKWARD, about={"git": "abc", "seed": 0}))
    assert list(files) == ["all-runs.csv", "all-runs.json"]
    content = json.loads(files["all-runs.json"].decode("utf-8"))
    assert content == {"about": {"git": "abc", "seed": 0}, "rows": PLAIN}


def test_csv_file_holds_the_rows_in_full():
    files = page.downloads("all-runs", AWKWARD, about={})
    text = saved(files)["all-runs.csv"].decode("utf-8")
    head, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert head == ["claim", "mse", "n", "held", "more"]
    assert rows == [
        ['a "code", of\n4×4', "0.30000000000000004", "3", "true", ""],
        ["", "", "4", "false", ""],
        [" ; \t'", "0.5", "100000000000000001", "", "–"],
    ]
    assert text.startswith("claim,mse,n,held,more\r\n") and text.endswith("–\r\n")
    assert files.files["all-runs.csv"] == text


def test_links_say_what_they_save_and_how_much():
    files = page.downloads("runs", [{"x": "y" * 3_000}], about={})
    assert repr(files) == "Save as runs.csv (3 kB) or runs.json (3 kB)"
    shown = re.sub(r"<[^>]+>", "", files._repr_html_())
    assert shown == repr(files)
    assert repr(page.downloads("runs", [], about={})).startswith("Save as runs.csv (1")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "not JSON compliant"),
        (np.float32("inf"), "not JSON compliant"),
        ([1, 2], "row 1, 'x' holds several values"),
        ((1,), "row 1, 'x' holds several values"),
        ({"a": 1}, "row 1, 'x' holds several values"),
        (np.arange(2), "size 1"),
        (b"x", "neither a string nor a number"),
        (Decimal("0.5"), "neither a string nor a number"),
        (object, "neither a string nor a number"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_values_that_a_file_cannot_hold_are_refused(value, reason):
    with pytest.raises(ValueError, match=f"^all-runs cannot be saved.*{reason}"):
        page.downloads("all-runs", [{"x": 1}, {"x": value}], about={})


@pytest.mark.parametrize("name", ["", "runs.csv", "a/b", "../a", "A", 'a"b', "a-", "é"])
def test_invalid_file_names_are_refused(name):
    with pytest.raises(ValueError, match="cannot name files: use lower-case words"):
        page.downloads(name, [], about={})


def test_provenance_of_a_page(tmp_path):
    images, labels = np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8)
    digits = Dataset(
        "mnist", images, labels, images, labels, ("0",), "a folder", "12ab", False
    )
    drawn = replace(digits, name="glyph-letters", sha256="34cd", stand_in=True)
    settings = Settings("smoke", "mnist", "glyph-letters", 3, tmp_path)
    found = page.provenance(settings, digits, drawn)
    assert (found["profile"], found["seed"]) == ("smoke", 3)
    assert found["git"] == git_version()
    assert found["data"] == {
        "mnist": {"sha256": "12ab", "stand_in": False},
        "glyph-letters": {"sha256": "34cd", "stand_in": True},
    }
    assert found["versions"]["sewar"] == metadata.version("sewar")
    assert found["versions"].keys() >= {"python", "numpy", "onnxruntime"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["created"])
    assert str(tmp_path) not in json.dumps(found)
    page.downloads("runs", [], about=found)  # JSON can hold it


def test_long_texts_may_break_and_numbers_may_not():
    markup = page.table([{"a": "short", "b": "a text that is long", "c": 10**15}])
    cells = re.findall(r"<td[^>]*>[^<]*", markup._repr_html_())
    assert cells == [
        "<td>short",
        '<td class="words">a text that is long',
        '<td class="text-right">1,000,000,000,000,000',
    ]


def test_caption_stands_in_the_html_only():
    table = page.table([{"a": 1}], caption="Small & <plain>.")
    assert (
        "<caption><span>Small &amp; &lt;plain&gt;.</span></caption>"
        in table._repr_html_()
    )
    assert "caption" not in page.table([{"a": 1}])._repr_html_()
    assert "Small" not in repr(table)


def test_a_data_frame_is_a_table_and_what_is_missing_a_dash():
    frame = pandas.DataFrame({"kind": ["x", "x", "y"], "value": [1.0, 3.0, None]})
    assert page.table(frame).rows[0] == {"kind": "x", "value": 1.0}
    means = page.table(frame.groupby("kind").mean())
    assert means.columns == ["kind", "value"]
    assert repr(means).splitlines()[1:] == ["x         2", "y         –"]
