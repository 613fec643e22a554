"""What chapters put on a page: glued values and tables."""

import html
import re
from decimal import Decimal

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat import v4

from caebook import page


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
        (np.float32(0.25), ".1%", "25.0%"),
        (12_544, ",", "12,544"),
        (np.int64(74_497), ",", "74,497"),
        (0.5, "", "0.5"),
        ("keras <3", "", "keras <3"),
        ("it's", "", "it's"),
    ],
)
def test_prose_gets_the_formatted_value_and_the_cell_shows_nothing(value, spec, text):
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


def test_table_escapes_html_in_heads_and_cells():
    shown = page.table([{"<b>&": '<script>alert("x")</script>', 5: "a & b"}])
    markup = shown._repr_html_()
    assert "<script>" not in markup and "<b>" not in markup
    assert cells(shown) == [["<b>&", "5"], ['<script>alert("x")</script>', "a & b"]]


def test_table_sets_columns_of_numbers_to_the_right():
    rows = [
        {"system": "deep", "mse": None, "mixed": 1, "empty": None},
        {"system": "shallow", "mse": np.float32(0.5), "mixed": "two", "empty": None},
    ]
    right = re.findall(r"<(t[dh])[^>]*text-right[^>]*>", page.table(rows)._repr_html_())
    assert right == ["th", "td", "td"]
    assert re.findall(r"<th ([^>]*)>", page.table(rows)._repr_html_())[0] == (
        'scope="col"'
    )


def test_table_as_text():
    rows = [{"system": "deep", "n": 332_801}, {"system": "shallow", "n": 7}]
    assert repr(page.table(rows)) == (
        "system         n\ndeep     332,801\nshallow        7"
    )


def test_table_takes_any_iterable_and_does_not_change_with_its_rows():
    row = {"a": 1}
    shown = page.table(row for _ in range(1))
    row["a"] = 2
    assert cells(shown) == [["a"], ["1"]]
    assert cells(page.table([])) == [[]]
    assert repr(page.table([])) == ""
