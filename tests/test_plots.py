"""The figures: shown once, drawn exactly, readable, and distinct without colour."""

import base64
import itertools
import struct
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from matplotlib import colors
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.text import Text
from nbclient import NotebookClient

from caebook import plots

PHONE = 312  # CSS pixels that a phone 360 wide leaves to a figure


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def pixels(figure: plots.Figure) -> np.ndarray:
    """Draw a figure: uint8 ``(height, width, 3)``."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


BLOCKS = [
    ("input", 28, 28, 1),
    ("conv", 28, 28, 32),
    ("pool", 14, 14, 32),
    ("conv", 14, 14, 64),
    ("up", 28, 28, 64),
    ("output", 28, 28, 1),
]
LOSSES = [
    plots.Curve("here", [0.3, 0.1, 0.07], framework="keras"),
    plots.Curve("held out", [0.31, 0.12, 0.08], framework="keras", validation=True),
    plots.Curve("there", [0.29, 0.11, 0.07], framework="torch"),
    plots.Curve("and there", [0.28, 0.12, 0.09], framework="torch", validation=True),
]
CODES = np.array([6272, 784, 3136, 1568])
MANY = [
    plots.Points(f"{name} {n}", [60, 0, 15], [n, n + 2, n + 1], framework=framework)
    for n in range(5)
    for name, framework in (("JPEG", None), ("Keras", "keras"), ("PyTorch", "torch"))
]
SYSTEMS = ("shallow", "code16", "wide-kernel")
RATES = [
    plots.Rate("dcnn", [190], [5], framework="keras"),
    plots.Rate("xz", [150], [20]),
    *(
        plots.Rate(system, [10 + n, 30, 70 + n], [n, n + 2, n + 3], framework=framework)
        for n, system in enumerate(SYSTEMS)
        for framework in ("keras", "torch")
    ),
    *(
        plots.Rate(f"{n} grey levels + bz2", [n + 5, n + 60], [n, 2 * n])
        for n in range(12)
    ),
    plots.Rate("JPEG, files", [214], [20]),
    plots.Rate("JPEG, files", [50], [20], ideal=True),
]
EXAMPLES = {
    "strip": lambda: plots.strip(
        {"original": noise(10, 28, 28), "PyTorch": noise(10, 28, 28) / 255},
        columns=list("0123456789"),
    ),
    "strip of one": lambda: plots.strip({"original": noise(1, 28, 28)}),
    "curves": lambda: plots.curves(
        LOSSES, "epoch", "BCE (nats)", reference={"floor": 0.058}
    ),
    "curves, log": lambda: plots.curves(LOSSES, "epoch", "BCE", log=True),
    "points": lambda: plots.points(
        [
            plots.Points("d1", CODES, 9 / CODES, 8 / CODES, 12 / CODES),
            plots.Points("d2", CODES, 5 / CODES),
        ],
        "numbers in the code",
        "test MSE",
        log_x=True,
        log_y=True,
    ),
    "points, many": lambda: plots.points(MANY, "bytes per image", "PSNR, dB"),
    "rate_distortion": lambda: plots.rate_distortion(
        RATES,
        "PSNR, dB",
        front=plots.Rate("best", CODES, 9 / CODES),
        levels={"raw": 784},
    ),
    "rate_distortion, limit": lambda: plots.rate_distortion(
        RATES, "UQI", limit=60, levels={"lossless": 136, "half": 30}
    ),
    "histogram": lambda: plots.histogram(
        [plots.Sample("pixels", noise(900))], "grey level"
    ),
    "feature maps": lambda: plots.feature_maps(noise(14, 14, 32) / 255),
    "difference": lambda: plots.difference(noise(10, 9, 9), noise(10, 9, 9)[::-1]),
    "shapes": lambda: plots.shapes(BLOCKS, code=3),
    "shapes, few": lambda: plots.shapes(BLOCKS[:3]),
}
examples = pytest.mark.parametrize("draw", EXAMPLES.values(), ids=EXAMPLES)


# --- in a notebook ------------------------------------------------------------------


def run_notebook(*cells: str) -> list[list[nbformat.NotebookNode]]:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells]
    )
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


def png_width(output: nbformat.NotebookNode) -> int:
    data = base64.b64decode(output.data["image/png"])
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">I", data[16:20])[0]


def test_a_notebook_shows_a_figure_exactly_once():
    figure = "plots.curves([plots.Curve('training', [2, 1])], 'epoch', 'loss')"
    alone, kept, named, after_pyplot, kept_after_pyplot = run_notebook(
        f"from caebook import plots\n{figure}",
        f"figure = {figure}",
        "figure",
        f"import matplotlib.pyplot as plt\n{figure}",
        f"figure = {figure}",
    )
    assert not kept and not kept_after_pyplot
    for outputs in (alone, named, after_pyplot):
        assert [output.output_type for output in outputs] == ["execute_result"]
        # Two pixels for each pixel of the page; pyplot's way trims a little.
        assert png_width(outputs[0]) == pytest.approx(2 * 704, rel=0.02)
    assert alone[0].metadata["image/png"] == {"width": 704}


def test_pyplot_is_not_imported_and_holds_no_figure():
    code = (
        "import sys; from caebook import plots;"
        "plots.shapes([('input', 2, 2, 1)]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- every figure -------------------------------------------------------------------


def draw_with_texts(figure: plots.Figure) -> tuple[np.ndarray, list[Text]]:
    """Draw a figure; return its pixels and the texts that were drawn.

    Matplotlib does not draw labels of ticks outside the axes, but lists them.
    """
    texts = []
    draw = Text.draw

    def note(text: Text, renderer: object) -> None:
        if text.get_visible() and text.get_text().strip():
            texts.append(text)
        draw(text, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", note)
        drawn = pixels(figure)
    return drawn, texts


def words(figure: plots.Figure) -> set[str]:
    return {text.get_text() for text in draw_with_texts(figure)[1]}


@pytest.mark.parametrize("draw", EXAMPLES.values(), ids=EXAMPLES)
def test_figures_fill_the_column_and_their_text_is_readable_on_a_phone(draw):
    figure = draw()
    drawn, texts = draw_with_texts(figure)
    assert drawn.shape[1] == 1408
    np.testing.assert_array_equal(drawn[-1], 255)  # nothing is cut at the bottom edge
    assert drawn.min() < 100  # and something is drawn
    assert texts
    for text in texts:
        size = text.get_fontsize() / 72 / figure.get_figwidth() * PHONE
        assert size >= 8.8, text
        box = text.get_window_extent()
        assert box.x0 >= -1 and box.x1 <= figure.bbox.width + 1, text
        assert box.y0 >= -1 and box.y1 <= figure.bbox.height + 1, text


@pytest.mark.parametrize("name", ["points, many", "rate_distortion"])
def test_the_same_figure_is_the_same_file(name):
    assert EXAMPLES[name]()._repr_png_() == EXAMPLES[name]()._repr_png_()


# --- strip --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 10, 20])
def test_strip_draws_every_stored_pixel_equally_large(count):
    images = noise(count, 28, 28)
    figure = plots.strip({"uint8": images, "floats": images / 255})
    drawn = pixels(figure)
    tiles = figure.axes[0].images
    assert len(tiles) == 2 * count
    for tile, image in zip(tiles, [*images, *images], strict=True):
        left, right, lower, upper = map(int, tile.get_extent())
        zoom = (right - left) // 28
        expected = np.kron(image, np.ones((zoom, zoom), np.uint8))
        found = drawn[upper:lower, left:right]
        np.testing.assert_array_equal(found, expected[..., None].repeat(3, axis=2))


def test_strip_shows_faint_images_faint():
    faint = np.full((2, 28, 28), 10, np.uint8)
    figure = plots.strip({"faint": faint, "floats": faint / 255, "beyond": faint + 0.0})
    drawn = pixels(figure)
    levels = []
    for tile in figure.axes[0].images[::2]:
        left, right, lower, upper = map(int, tile.get_extent())
        levels.append(drawn[(upper + lower) // 2, (left + right) // 2, 0])
    assert levels == [10, 10, 255]


def test_strip_takes_rows_of_other_sizes():
    rows = {"original": noise(3, 28, 28), "code": noise(3, 4, 4) / 255}
    boxes = [tile.get_extent() for tile in plots.strip(rows).axes[0].images]
    widths = {right - left for left, right, *_ in boxes}
    assert len(widths) == 1


@pytest.mark.parametrize(
    ("rows", "columns", "error", "message"),
    [
        ({}, None, ValueError, "no rows"),
        ({"one": noise(28, 28)}, None, ValueError, r"'one'.*image\[None\]"),
        ({"nhwc": noise(2, 28, 28, 1)}, None, ValueError, r"'nhwc'.*images\[\.\.\., 0"),
        ({"int": noise(2, 28, 28).astype(int)}, None, TypeError, "'int'.*int64"),
        ({"list": [[[0.5]]]}, None, TypeError, "not list"),
        ({"a": noise(2, 8, 8), "b": noise(3, 8, 8)}, None, ValueError, "lengths"),
        ({"a": noise(2, 8, 8)}, ["x"], ValueError, "1 labels for 2"),
        ({"a": noise(40, 28, 28)}, None, ValueError, "show fewer"),
        ({"a": np.full((1, 8, 8), np.nan)}, None, ValueError, "row 'a'.*NaN"),
    ],
)
def test_strip_refuses(rows, columns, error, message):
    with pytest.raises(error, match=message):
        plots.strip(rows, columns)


# --- series: what all kinds have in common ------------------------------------------


def lines(figure: plots.Figure) -> dict[str, Line2D]:
    return {line.get_label(): line for line in figure.axes[0].lines}


def legend(figure: plots.Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def look(line: Line2D) -> tuple[str, str, str, str]:
    return (
        line.get_color(),
        line.get_marker(),
        line.get_linestyle(),
        line.get_markerfacecolor(),
    )


MISLEADING = ["front", "Keras", "PyTorch, validation", "validation", "a, ideal"]


def test_labels_have_no_meaning():
    """Without a framework, series look the same whatever their labels say."""

    def drawn(labels: list[str]) -> list[plots.Figure]:
        return [
            plots.curves([plots.Curve(each, [1, 2]) for each in labels], "x", "y"),
            plots.points([plots.Points(each, [1], [2]) for each in labels], "x", "y"),
            plots.rate_distortion(
                [plots.Rate(each, [5], [2]) for each in labels],
                "y",
                front=plots.Rate("best", [1], [2]),
            ),
            plots.histogram([plots.Sample(each, [1, 2]) for each in labels], "x"),
        ]

    plain = [f"series {n}" for n in range(len(MISLEADING))]
    for found, expected in zip(drawn(MISLEADING), drawn(plain), strict=True):
        assert [x for x in legend(found) if x != "best"] == MISLEADING
        found, expected = found.axes[0], expected.axes[0]
        assert [*map(look, found.lines)] == [*map(look, expected.lines)]
        outlines = [
            [(patch.get_edgecolor(), patch.get_linestyle()) for patch in axes.patches]
            for axes in (found, expected)
        ]
        assert outlines[0] == outlines[1]


def test_frameworks_have_colours_and_markers_of_their_own():
    keras, keras_held_out, torch, torch_held_out = map(
        look, lines(plots.curves(LOSSES, "epoch", "loss")).values()
    )
    assert keras == (plots.KERAS, "o", "-", plots.KERAS)
    assert torch == (plots.TORCH, "s", "-", plots.TORCH)
    for validation, training in ((keras_held_out, keras), (torch_held_out, torch)):
        assert validation[0] == training[0]
        assert validation[2] != "-" and validation[3] == "white"


def test_series_differ_without_their_colours():
    series = [
        plots.Curve(str(n), [1], framework=framework, validation=held_out)
        for n, (framework, held_out) in enumerate(
            2 * [*itertools.product(("keras", "torch", None), (False, True))]
        )
    ]
    looks = {look(x)[1:3] for x in lines(plots.curves(series, "x", "y")).values()}
    assert len(looks) == len(series)
    bars = plots.points(MANY, "x", "y").axes[0].containers
    assert len({look(bar.lines[0])[1:3] for bar in bars}) == len(MANY)


@pytest.mark.parametrize("color", [plots.KERAS, plots.TORCH])
def test_colours_of_frameworks_stand_out_on_white(color):
    channels = np.array(colors.to_rgb(color))
    linear = np.where(
        channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert 1.05 / (luminance + 0.05) >= 3  # WCAG's ratio for graphics


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: plots.Curve([2, 1], [2, 1]), TypeError, "Curve: the label.*not list"),
        (lambda: plots.Curve("a", []), ValueError, r"Curve 'a': values.*\(0,\)"),
        (lambda: plots.Curve("a", [[1, 2]]), ValueError, r"'a': values.*\(1, 2\)"),
        (lambda: plots.Curve("a", [[1], [1, 2]]), ValueError, "'a': values: one row"),
        (lambda: plots.Curve("a", ["x"]), ValueError, "'a': values: one row"),
        (lambda: plots.Curve("a", None), ValueError, "Curve 'a': values"),
        (lambda: plots.Curve("a", [1], framework="Keras"), ValueError, "'a'.*'Keras'"),
        (lambda: plots.Points("a", [], []), ValueError, "Points 'a': x"),
        (lambda: plots.Points("a", [1, 2], [1]), ValueError, "'a': y has 1 numbers"),
        (lambda: plots.Points("a", [1], [np.nan]), ValueError, "Points 'a': y.*NaN"),
        (lambda: plots.Points("a", [1], [1], [1]), ValueError, "'a': low and high"),
        (lambda: plots.Points("a", [1], [5], [1], [2]), ValueError, "'a'.*outside"),
        (lambda: plots.Points("a", [1], [5], [6], [7]), ValueError, "'a'.*outside"),
        (lambda: plots.Rate("a", [1], [np.inf]), ValueError, "Rate 'a': quality"),
        (lambda: plots.Rate("a", [1, 2], [1]), ValueError, "Rate 'a': 2 bytes and 1"),
        (
            lambda: plots.Rate("a", [0], [1], framework="keras"),
            ValueError,
            "Rate 'a, Keras': 0 bytes",
        ),
        (lambda: plots.Sample("a", []), ValueError, "Sample 'a': values"),
        (lambda: plots.Sample("a", [1, np.nan]), ValueError, "Sample 'a'.*NaN"),
    ],
)
def test_invalid_series_are_refused_where_they_are_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("draw", "kind"),
    [
        (lambda series: plots.curves(series, "x", "y"), "Curve"),
        (lambda series: plots.points(series, "x", "y"), "Points"),
        (lambda series: plots.rate_distortion(series, "y"), "Rate"),
        (lambda series: plots.histogram(series, "x"), "Sample"),
    ],
)
def test_figures_refuse_no_series_and_other_types(draw, kind):
    with pytest.raises(ValueError, match="no series"):
        draw([])
    with pytest.raises(TypeError, match=f"'here'.*list of plots.{kind}"):
        draw({"here": [1, 2]})


@pytest.mark.parametrize(
    ("draw", "label"),
    [
        (lambda: plots.curves([LOSSES[0], LOSSES[0]], "x", "y"), "here"),
        (lambda: plots.rate_distortion([*RATES, RATES[0]], "y"), "dcnn, Keras"),
    ],
)
def test_two_series_with_one_label_are_refused(draw, label):
    with pytest.raises(ValueError, match=f"two series have the label '{label}'"):
        draw()


# --- curves -------------------------------------------------------------------------


def test_curves_count_from_one_and_keep_every_value():
    figure = plots.curves(LOSSES, "epoch", "loss", reference={"source": 0.0586})
    drawn = lines(figure)
    np.testing.assert_array_equal(drawn["here"].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(drawn["here"].get_ydata(), [0.3, 0.1, 0.07])
    assert set(drawn["source"].get_ydata()) == {0.0586}
    assert legend(figure) == [*(curve.label for curve in LOSSES), "source"]


def test_a_single_epoch_is_one_tick_and_a_visible_marker():
    curve = plots.Curve("a", [0.2], framework="keras")
    figure = plots.curves([curve], "epoch", "loss")
    drawn = pixels(figure).reshape(-1, 3)
    low, high = figure.axes[0].get_xlim()
    assert [tick for tick in figure.axes[0].get_xticks() if low < tick < high] == [1]
    blue = (np.array(colors.to_rgb(plots.KERAS)) * 255).round()
    assert (drawn == blue).all(axis=1).sum() > 100


def test_a_logarithmic_axis_has_plain_numbers_and_gaps():
    curve = plots.Curve("a", [0.2, np.nan, 0.055])
    figure = plots.curves([curve], "epoch", "loss", log=True)
    assert figure.axes[0].get_yscale() == "log"
    assert {"0.06", "0.1", "0.2"} <= words(figure)


@pytest.mark.parametrize(
    ("values", "reference", "log", "message"),
    [
        ([1, np.nan, 0], {}, True, "curves: 'a' reaches 0.*log=False"),
        ([1], {"x": -1}, True, "curves: level 'x' reaches -1.*log=False"),
        ([1], {"x": np.nan}, False, "curves: level 'x'.*NaN"),
    ],
)
def test_curves_refuse(values, reference, log, message):
    with pytest.raises(ValueError, match=message):
        plots.curves([plots.Curve("a", values)], "x", "y", reference, log)


# --- points -------------------------------------------------------------------------


def test_points_are_joined_in_the_order_of_x_with_their_error_bars():
    series = plots.Points("a", [3, 1, 2], [30, 10, 20], [29, 8, 17], [34, 15, 26])
    bars = plots.points([series], "x", "y").axes[0].containers[0]
    line, _, (drawn,) = bars.lines
    np.testing.assert_array_equal(line.get_xydata(), [[1, 10], [2, 20], [3, 30]])
    np.testing.assert_allclose(
        [bar[:, 1] for bar in drawn.get_segments()], [[8, 15], [17, 26], [29, 34]]
    )
    assert line.get_linestyle() == "-"


def test_points_without_lines_and_error_bars_are_compared_with_a_level():
    figure = plots.points(
        [plots.Points("a", [1, 2], [3, 4])],
        "x",
        "y",
        connect=False,
        reference={"level": 2},
    )
    (bars,) = figure.axes[0].containers
    assert bars.lines[0].get_linestyle() == "None"
    assert not bars.has_yerr
    assert set(lines(figure)["level"].get_ydata()) == {2}
    assert sorted(legend(figure)) == ["a", "level"]


def test_ticks_stand_at_the_values_of_x_if_they_fit():
    def ticks(x: list[float]) -> set[str]:
        figure = plots.points([plots.Points("a", x, x)], "x", "y", log_x=True)
        assert figure.axes[0].get_xscale() == "log"
        return words(figure)

    assert {"196", "784", "6,272"} <= ticks([196, 784, 6272])
    crowded = ticks([196, 784, 790, 6272])
    assert "784" not in crowded and {"200", "1,000", "5,000"} <= crowded
    assert "784" in ticks([784])


def test_a_long_legend_leaves_the_axes_their_height():
    def height(series: list[plots.Points]) -> float:
        figure = plots.points(series, "x", "y")
        pixels(figure)
        return figure.axes[0].get_window_extent().height

    assert height(MANY) > 0.8 * height(MANY[:2])


@pytest.mark.parametrize(
    ("series", "options", "message"),
    [
        ((0, 1), {"log_x": True}, "x of 'a' reaches 0.*log_x=False"),
        ((1, 0), {"log_y": True}, "y of 'a' reaches 0.*log_y=False"),
        ((1, 1, -1, 2), {"log_y": True}, "low of 'a' reaches -1"),
        ((1, 1), {"reference": {"r": np.inf}}, "level 'r'.*infinite"),
        ((1, 1), {"reference": {"r": 0}, "log_y": True}, "'r' reaches 0"),
    ],
)
def test_points_refuse(series, options, message):
    given = plots.Points("a", *([number] for number in series))
    with pytest.raises(ValueError, match=f"points: .*{message}"):
        plots.points([given], "x", "y", **options)


# --- rate and distortion ------------------------------------------------------------


def rates_drawn(**options) -> list[Line2D]:
    """The lines of the series; the front and the levels have no markers."""
    figure = plots.rate_distortion(RATES, "y", **options)
    return [line for line in figure.axes[0].lines if line.get_marker() != "None"]


def test_systems_share_a_marker_and_frameworks_a_colour():
    drawn = {rate.label: line for rate, line in zip(RATES, rates_drawn(), strict=True)}
    for system in SYSTEMS:
        keras, torch = (drawn[f"{system}, {name}"] for name in ("Keras", "PyTorch"))
        assert keras.get_marker() == torch.get_marker()
        assert (keras.get_color(), torch.get_color()) == (plots.KERAS, plots.TORCH)
    looks = {(line.get_marker(), line.get_color()) for line in drawn.values()}
    assert len(looks) == len(RATES) - 1  # one for the real and the ideal files
    real, ideal = drawn["JPEG, files"], drawn["JPEG, files, ideal"]
    assert ideal.get_marker() == real.get_marker()
    assert ideal.get_markerfacecolor() == "white" != real.get_markerfacecolor()


def test_no_other_codec_has_the_marker_of_a_network():
    networks = [
        plots.Rate(name, [8], [1], framework=framework)
        for name in ("code16", "dcnn")
        for framework in ("keras", "torch")
    ]
    others = [plots.Rate(name, [9], [2]) for name in ("JPEG", "PNG", "PCA")]
    lines = plots.rate_distortion([*others, *networks], "y").axes[0].lines
    markers = [line.get_marker() for line in lines]
    assert len(set(markers[:3])) == 3
    assert set(markers[:3]).isdisjoint(markers[3:])


def test_the_legend_names_each_system_and_framework_once():
    series = [
        *(plots.Rate("code16", [8], [1], framework=f) for f in ("keras", "torch")),
        plots.Rate("code16", [7], [1], framework="keras", ideal=True),
        plots.Rate("JPEG, Keras", [9], [1]),
    ]
    figure = plots.rate_distortion(series, "y", front=plots.Rate("best", [8], [1]))
    names = ["code16", "code16, ideal", "Keras", "PyTorch", "JPEG, Keras", "best"]
    assert legend(figure) == names


def test_a_limit_leaves_out_series_beyond_it_and_changes_no_look():
    within = [rate.bytes.min() <= 60 for rate in RATES]
    assert within[:2] == [False, False]  # these take the first looks
    kept = list(itertools.compress(rates_drawn(), within))
    assert [*map(look, rates_drawn(limit=60))] == [*map(look, kept)]
    axes = plots.rate_distortion(RATES, "y", limit=60).axes[0]
    assert axes.get_xlim() == (0, 60) and axes.get_xscale() == "linear"
    assert plots.rate_distortion(RATES, "y").axes[0].get_xscale() == "log"
    with pytest.raises(ValueError, match="no series within 4 bytes"):
        plots.rate_distortion(RATES, "y", limit=4)


def test_rates_are_joined_in_the_order_of_bytes_and_their_axis_fits_the_limit():
    series = plots.Rate("a", [2, 1, 500], [20, 10, 900])
    axes = plots.rate_distortion([series], "y", limit=60).axes[0]
    expected = [[1, 10], [2, 20], [500, 900]]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), expected)
    low, high = axes.get_ylim()
    assert low <= 10 and 20 <= high < 30


def test_the_front_steps_up_where_its_points_are():
    best = plots.Rate("best", [20, 5], [9, 1])
    figure = plots.rate_distortion(RATES, "y", limit=60, front=best)
    (front,) = (x for x in figure.axes[0].lines if x.get_drawstyle() == "steps-post")
    np.testing.assert_array_equal(front.get_xdata(), [5, 20, 60])
    np.testing.assert_array_equal(front.get_ydata(), [1, 9, 9])


def test_levels_are_lines_within_the_limit_and_arrows_beyond():
    def texts(**options) -> set[str]:
        levels = {"floor": 136, "half": 30}
        figure = plots.rate_distortion(RATES, "y", levels=levels, **options)
        return {text.get_text() for text in figure.axes[0].texts}

    assert texts() == {"floor", "half"}
    assert texts(limit=60) == {"floor →", "half"}


# --- histograms ---------------------------------------------------------------------


def test_histograms_count_every_value_in_common_bins():
    series = [
        plots.Sample("a", np.arange(100), framework="keras"),
        plots.Sample("b", np.arange(50, 250), framework="torch"),
    ]
    steps = plots.histogram(series, "value", bins=7).axes[0].patches
    data = [patch.get_data() for patch in steps]
    assert [each.values.sum() for each in data] == [100, 200]
    np.testing.assert_array_equal(data[0].edges, data[1].edges)
    assert len(data[0].values) == 7
    assert steps[0].get_linestyle() != steps[1].get_linestyle()
    drawn = [colors.to_hex(step.get_edgecolor()).upper() for step in steps]
    assert drawn == [plots.KERAS, plots.TORCH]


def test_a_logarithmic_histogram_draws_bins_of_one_and_none():
    sample = plots.Sample("pixels", [0, 0, 0, 9])
    figure = plots.histogram([sample], "x", bins=3, log=True)
    assert figure.axes[0].get_yscale() == "log"
    assert 0 < figure.axes[0].get_ylim()[0] < 1
    pixels(figure)


# --- maps and differences -----------------------------------------------------------


def test_feature_maps_share_one_scale_that_holds_zero():
    maps = noise(7, 7, 11) / 100 + 1
    figure = plots.feature_maps(maps, columns=4)
    shown = [image for axes in figure.axes for image in axes.images]
    assert len(shown) == 11
    for index, image in enumerate(shown):
        np.testing.assert_array_equal(image.get_array(), maps[..., index])
        assert image.get_clim() == (0, maps.max())
    rows = {round(image.axes.get_position().y0, 6) for image in shown}
    assert len(rows) == 3


def test_dead_feature_maps_are_drawn():
    assert pixels(plots.feature_maps(np.zeros((7, 7, 4)))).min() < 100


@pytest.mark.parametrize(
    ("maps", "columns", "message"),
    [
        (np.zeros((1, 7, 7, 4)), 8, r"maps\[0\]"),
        (np.zeros((7, 7, 0)), 8, "shape"),
        (np.full((7, 7, 1), np.nan), 8, "NaN"),
        (np.zeros((7, 7, 1)), 0, "at least one"),
    ],
)
def test_feature_maps_refuse(maps, columns, message):
    with pytest.raises(ValueError, match=message):
        plots.feature_maps(maps, columns)


def test_difference_is_signed_and_zero_is_white():
    reference = np.full((2, 4, 4), 100, np.uint8)
    test = reference.copy()
    test[0, 0, 0], test[1, 3, 3] = 151, 74
    figure = plots.difference(reference, test / 255)
    shown = [image for axes in figure.axes for image in axes.images]
    assert shown[0].get_array()[0, 0] == pytest.approx(51 / 255)
    assert shown[1].get_array()[3, 3] == pytest.approx(-26 / 255)
    assert shown[0].get_clim() == pytest.approx((-51 / 255, 51 / 255))
    too_bright, none, too_dark = shown[0].to_rgba(np.array([0.2, 0, -0.1]))[:, :3]
    assert too_bright[0] > too_bright[2] + 0.2  # red
    assert too_dark[2] > too_dark[0] + 0.2  # blue
    assert none.min() > 0.95


def test_difference_of_equal_single_images_and_a_given_limit():
    image = noise(28, 28)
    assert pixels(plots.difference(image, image)).shape[1] == 1408
    figure = plots.difference(image, image, limit=0.25)
    assert figure.axes[0].images[0].get_clim() == (-0.25, 0.25)


@pytest.mark.parametrize(
    ("test", "limit", "error"),
    [
        (noise(3, 28, 28), None, ValueError),
        (noise(2, 28, 28), 0, ValueError),
        (noise(2, 28, 28).astype(int), None, TypeError),
        (np.full((2, 28, 28), np.nan), None, ValueError),
    ],
)
def test_difference_refuses(test, limit, error):
    with pytest.raises(error, match="difference"):
        plots.difference(noise(2, 28, 28), test, limit)


# --- shapes -------------------------------------------------------------------------


def fronts(figure: plots.Figure) -> list[tuple[float, float]]:
    """Thickness and height of each box's front, in inches."""
    corners = [patch.get_xy() for patch in figure.axes[0].patches[::3]]
    return [(c[1][0] - c[0][0], c[2][1] - c[0][1]) for c in corners]


def test_boxes_are_to_scale():
    boxes = fronts(plots.shapes(BLOCKS))
    heights = [high for _, high in boxes]
    np.testing.assert_allclose(
        np.divide(heights, heights[0]), [block[1] / 28 for block in BLOCKS]
    )
    thick = [thickness for thickness, _ in boxes]
    assert thick[3] == pytest.approx(2 * thick[1])
    assert thick[4] == pytest.approx(2 * thick[2])
    assert 0 < thick[0] < thick[1]


def test_boxes_keep_apart_and_inside():
    for blocks in (BLOCKS, BLOCKS[:2], BLOCKS * 2, [("vector", 1, 1, 5000)]):
        figure = plots.shapes(blocks)
        patches = figure.axes[0].patches
        spans = []
        for index in range(0, len(patches), 3):
            xs = np.concatenate([p.get_xy()[:, 0] for p in patches[index : index + 3]])
            spans.append((xs.min(), xs.max()))
        assert spans[0][0] >= 0 and spans[-1][1] <= plots.WIDTH
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert end < start


def test_every_box_names_its_shape_and_the_code_stands_out():
    figure = plots.shapes(BLOCKS, code=-3)
    texts = figure.axes[0].texts
    assert [text.get_text() for text in texts] == [
        f"{label}\n{h}×{w}×{c}" for label, h, w, c in BLOCKS
    ]
    bold = [text.get_fontweight() == "bold" for text in texts]
    assert bold == [False, False, False, True, False, False]
    faces = {patch.get_facecolor() for patch in figure.axes[0].patches[::3]}
    assert len(faces) == 2


def test_labels_of_boxes_do_not_overlap():
    figure = plots.shapes(BLOCKS * 2, code=3)
    boxes = [text.get_window_extent() for text in draw_with_texts(figure)[1]]
    for first, second in itertools.pairwise(boxes):
        assert first.x1 <= second.x0


def test_more_channels_than_can_be_drawn_are_cut():
    figure = plots.shapes([("flatten", 1, 1, 1568), ("conv", 2, 2, 256)])
    (cut, _), (whole, _) = fronts(figure)
    assert cut == pytest.approx(whole)
    assert len(figure.axes[0].lines) == 2


@pytest.mark.parametrize(
    ("blocks", "code", "message"),
    [
        ([], None, "no blocks"),
        ([("conv", 0, 1, 1)], None, "'conv'"),
        ([("conv", 1, 1)], None, "'conv'"),
        (BLOCKS, 6, "no block 6"),
        (BLOCKS * 4, None, "24 blocks do not fit"),
    ],
)
def test_shapes_refuse(blocks, code, message):
    with pytest.raises(ValueError, match=message):
        plots.shapes(blocks, code)
