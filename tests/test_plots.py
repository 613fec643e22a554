"""The figures: shown once, drawn exactly, readable, and told apart without colour."""

import base64
import io
import itertools
import struct
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from matplotlib import colors
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from nbclient import NotebookClient

from caebook import plots

PHONE = 312  # CSS pixels that a phone 360 wide leaves to a picture


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
LOSSES = {
    "Keras": [0.3, 0.1, 0.07],
    "Keras, validation": [0.31, 0.12, 0.08],
    "PyTorch": [0.29, 0.11, 0.07],
    "PyTorch, validation": [0.28, 0.12, 0.09],
}
CODES = np.array([6272, 784, 3136, 1568])
MANY = [f"{codec} {n}" for n in range(5) for codec in ("JPEG", "Keras", "PyTorch")]
SYSTEMS = ("shallow", "code16", "wide-kernel")
RATES = {
    **{
        f"{system}, {framework}": ([10 + n, 30.5, 70 + n], [n, n + 2, n + 3])
        for n, system in enumerate(SYSTEMS)
        for framework in ("Keras", "PyTorch")
    },
    **{f"{n} grey levels + bz2": ([n + 5, n + 60], [n, 2 * n]) for n in range(12)},
    "JPEG, files": ([214], [20]),
    "JPEG, files, ideal": ([50], [20]),
}
EXAMPLES = {
    "strip": lambda: plots.strip(
        {"original": noise(10, 28, 28), "PyTorch": noise(10, 28, 28) / 255},
        columns=list("0123456789"),
    ),
    "strip of one": lambda: plots.strip({"original": noise(1, 28, 28)}),
    "curves": lambda: plots.curves(
        LOSSES, "epoch", "BCE (nats)", reference={"perfect copy": 0.058}
    ),
    "curves, log": lambda: plots.curves(LOSSES, "epoch", "BCE", log=True),
    "points": lambda: plots.points(
        {"d1": (CODES, 9 / CODES, 8 / CODES, 12 / CODES), "d2": (CODES, 5 / CODES)},
        "numbers in the code",
        "test MSE",
        log_x=True,
        log_y=True,
    ),
    "points, many": lambda: plots.points(
        {name: ([60, 0, 15], [n, n + 2, n + 1]) for n, name in enumerate(MANY)},
        "bytes per image",
        "PSNR, dB",
    ),
    "rate_distortion": lambda: plots.rate_distortion(
        RATES, "PSNR, dB", front=(CODES, 9 / CODES), levels={"raw": 784}
    ),
    "rate_distortion, limit": lambda: plots.rate_distortion(
        RATES, "UQI", limit=60, levels={"lossless": 136, "half": 30}
    ),
    "histogram": lambda: plots.histogram({"Keras": noise(900)}, "grey level"),
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
    figure = "plots.curves({'Keras': [2, 1]}, 'epoch', 'loss')"
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


def drawn_texts(figure: plots.Figure) -> list[Text]:
    """Draw a figure and collect its texts; tick labels out of sight never are drawn."""
    texts = []
    draw = Text.draw

    def note(text: Text, renderer: object) -> None:
        if text.get_visible() and text.get_text().strip():
            texts.append(text)
        draw(text, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", note)
        pixels(figure)
    return texts


@examples
def test_text_is_readable_on_a_phone_and_inside_the_picture(draw):
    figure = draw()
    for text in drawn_texts(figure):
        size = text.get_fontsize() / 72 / figure.get_figwidth() * PHONE
        assert size >= 8.8, text
        box = text.get_window_extent()
        assert box.x0 >= -1 and box.x1 <= figure.bbox.width + 1, text
        assert box.y0 >= -1 and box.y1 <= figure.bbox.height + 1, text


@examples
def test_figures_fill_the_column_on_white(draw):
    figure = draw()
    drawn = pixels(figure)
    assert drawn.shape[1] == 1408
    np.testing.assert_array_equal(drawn[-1], 255)  # nothing is cut at the bottom edge
    assert drawn.min() < 100  # and something is drawn


@examples
def test_the_same_figure_is_the_same_file(draw):
    assert draw()._repr_png_() == draw()._repr_png_()


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
    ],
)
def test_strip_refuses(rows, columns, error, message):
    with pytest.raises(error, match=message):
        plots.strip(rows, columns)


# --- curves and histograms ----------------------------------------------------------


def lines(figure: plots.Figure) -> dict:
    return {line.get_label(): line for line in figure.axes[0].lines}


def test_frameworks_have_colours_and_markers_of_their_own():
    drawn = lines(plots.curves(LOSSES, "epoch", "loss"))
    for label, line in drawn.items():
        keras = label.startswith("Keras")
        assert line.get_color() == (plots.KERAS if keras else plots.TORCH)
        assert line.get_marker() == ("o" if keras else "s")
        validation = "validation" in label
        assert line.get_linestyle() == ("--" if validation else "-")
        assert (line.get_markerfacecolor() == "white") == validation


def test_series_differ_without_their_colours():
    labels = [
        f"{system}, {framework}{end}"
        for system in ("shallow", "deep")
        for framework in ("Keras", "PyTorch")
        for end in ("", ", validation")
    ] + ["depth", "bottleneck", "depth, validation"]
    drawn = lines(plots.curves({label: [1, 2] for label in labels}, "x", "y"))
    looks = {
        (line.get_marker(), line.get_linestyle(), line.get_markerfacecolor() == "white")
        for line in drawn.values()
    }
    assert len(looks) == len(labels)


def test_framework_colours_differ_in_lightness_from_white_and_each_other():
    def luminance(color: str) -> float:
        channels = np.array(colors.to_rgb(color))
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for color in (plots.KERAS, plots.TORCH):
        assert 1.05 / (luminance(color) + 0.05) >= 3  # WCAG's ratio for graphics


def test_curves_count_from_one_and_keep_every_value():
    figure = plots.curves(LOSSES, "epoch", "loss", reference={"source": 0.0586})
    drawn = lines(figure)
    np.testing.assert_array_equal(drawn["Keras"].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(drawn["Keras"].get_ydata(), LOSSES["Keras"])
    assert set(drawn["source"].get_ydata()) == {0.0586}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*LOSSES, "source"]


def test_a_single_epoch_is_one_tick_and_a_visible_marker():
    figure = plots.curves({"Keras": [0.2]}, "epoch", "loss")
    pixels(figure)
    low, high = figure.axes[0].get_xlim()
    assert [tick for tick in figure.axes[0].get_xticks() if low < tick < high] == [1]
    drawn = pixels(figure).reshape(-1, 3)
    blue = (np.array(colors.to_rgb(plots.KERAS)) * 255).round()
    assert (drawn == blue).all(axis=1).sum() > 100


def test_a_logarithmic_axis_has_plain_numbers():
    figure = plots.curves({"Keras": [0.2, 0.055]}, "epoch", "loss", log=True)
    assert figure.axes[0].get_yscale() == "log"
    assert {"0.06", "0.1", "0.2"} <= {t.get_text() for t in drawn_texts(figure)}


@pytest.mark.parametrize(
    ("series", "options", "message"),
    [
        ({}, {}, "no series"),
        ({"Keras": []}, {}, "'Keras'"),
        ({"Keras": [[1, 2]]}, {}, "'Keras'"),
        ({"Keras": [1, 0]}, {"log": True}, "'Keras' reaches 0"),
        ({"Keras": [1]}, {"log": True, "reference": {"x": -1}}, "'x' reaches -1"),
    ],
)
def test_curves_refuse(series, options, message):
    with pytest.raises(ValueError, match=message):
        plots.curves(series, "x", "y", **options)


def test_points_are_joined_in_the_order_of_x_with_their_error_bars():
    series = {"measured": ([3, 1, 2], [30, 10, 20], [29, 8, 17], [34, 15, 26])}
    bars = plots.points(series, "x", "y").axes[0].containers[0]
    line, _, (drawn,) = bars.lines
    np.testing.assert_array_equal(line.get_xydata(), [[1, 10], [2, 20], [3, 30]])
    np.testing.assert_allclose(
        [bar[:, 1] for bar in drawn.get_segments()], [[8, 15], [17, 26], [29, 34]]
    )
    assert line.get_linestyle() == "-"


def test_points_may_stay_unconnected_and_without_error_bars():
    figure = plots.points({"a": ([1, 2], [3, 4])}, "x", "y", connect=False)
    bars = figure.axes[0].containers[0]
    assert bars.lines[0].get_linestyle() == "None"
    assert not bars.has_yerr


def test_points_are_compared_with_a_reference():
    figure = plots.points({"a": ([1], [3])}, "x", "y", reference={"none": 2})
    assert set(lines(figure)["none"].get_ydata()) == {2}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(legend) == ["a", "none"]


def test_ticks_stand_at_the_values_of_x_if_they_fit():
    def ticks(x: list[float]) -> set[str]:
        figure = plots.points({"a": (x, x)}, "x", "y", log_x=True)
        assert figure.axes[0].get_xscale() == "log"
        return {text.get_text() for text in drawn_texts(figure)}

    assert {"196", "784", "6,272"} <= ticks([196, 784, 6272])
    crowded = ticks([196, 784, 790, 6272])
    assert "784" not in crowded and {"200", "1,000", "5,000"} <= crowded
    assert "784" in ticks([784])


def test_a_long_legend_leaves_the_axes_their_height():
    def height(names: list[str]) -> float:
        series = {name: ([0, 1], [0, 1]) for name in names}
        figure = plots.points(series, "x", "y")
        pixels(figure)
        return figure.axes[0].get_window_extent().height

    assert height(MANY) > 0.8 * height(MANY[:2])


def test_many_series_differ_without_their_colours():
    figure = plots.points({name: ([0], [0]) for name in MANY}, "x", "y")
    drawn = [bars.lines[0] for bars in figure.axes[0].containers]
    assert len({(line.get_marker(), line.get_linestyle()) for line in drawn}) == 15


@pytest.mark.parametrize(
    ("series", "options", "message"),
    [
        ({}, {}, "no series"),
        ({"a": ([1],)}, {}, "'a' has 1 rows"),
        ({"a": ([1], [1], [1])}, {}, "'a' has 3 rows"),
        ({"a": ([], [])}, {}, "x of 'a'"),
        ({"a": ([1, 2], [1])}, {}, r"y of 'a' has shape \(1,\)"),
        ({"a": ([[1]], [[1]])}, {}, "x of 'a'"),
        ({"a": ([1], [np.nan])}, {}, "y of 'a' holds NaN"),
        ({"a": ([0], [1])}, {"log_x": True}, "x of 'a' reaches 0.*log_x=False"),
        ({"a": ([0], [0])}, {"log_y": True}, "y of 'a' reaches 0.*log_y=False"),
        ({"a": ([1], [1], [-1], [2])}, {"log_y": True}, "low of 'a' reaches -1"),
        ({"a": ([1], [1])}, {"reference": {"r": np.inf}}, "y of 'r' holds"),
        ({"a": ([1], [1])}, {"reference": {"r": 0}, "log_y": True}, "'r' reaches 0"),
        ({"a": ([1], [5], [1], [2])}, {}, "'a'.*outside"),
        ({"a": ([1], [5], [6], [7])}, {}, "'a'.*outside"),
    ],
)
def test_points_refuse(series, options, message):
    with pytest.raises(ValueError, match=message):
        plots.points(series, "x", "y", **options)


def rates_drawn(**options) -> list:
    """The lines of the series; the front and the sizes have no markers."""
    figure = plots.rate_distortion(RATES, "y", **options)
    return [line for line in figure.axes[0].lines if line.get_marker() != "None"]


def test_systems_share_a_marker_and_frameworks_a_colour():
    drawn = dict(zip(RATES, rates_drawn(), strict=True))
    for system in SYSTEMS:
        keras, torch = (drawn[f"{system}, {name}"] for name in ("Keras", "PyTorch"))
        assert keras.get_marker() == torch.get_marker()
        assert (keras.get_color(), torch.get_color()) == (plots.KERAS, plots.TORCH)
    looks = {(line.get_marker(), line.get_color()) for line in drawn.values()}
    assert len(looks) == len(RATES) - 1  # one for the real and the ideal files
    real, ideal = drawn["JPEG, files"], drawn["JPEG, files, ideal"]
    assert ideal.get_marker() == real.get_marker()
    assert ideal.get_markerfacecolor() == "white" != real.get_markerfacecolor()


def test_a_limit_leaves_out_what_lies_beyond_and_changes_no_look():
    within = [name for name, (sizes, _) in RATES.items() if min(sizes) <= 60]
    assert len(within) == len(RATES) - 1
    everything = dict(zip(RATES, rates_drawn(), strict=True))
    for name, line in zip(within, rates_drawn(limit=60), strict=True):
        assert line.get_marker() == everything[name].get_marker()
        assert line.get_color() == everything[name].get_color()
    axes = plots.rate_distortion(RATES, "y", limit=60).axes[0]
    assert axes.get_xlim() == (0, 60) and axes.get_xscale() == "linear"
    assert plots.rate_distortion(RATES, "y").axes[0].get_xscale() == "log"


def test_the_axis_of_quality_fits_what_is_within_the_limit():
    series = {"a": ([1, 2, 500], [10, 20, 900])}
    low, high = plots.rate_distortion(series, "y", limit=60).axes[0].get_ylim()
    assert low <= 10 and 20 <= high < 30


def test_the_front_steps_up_where_its_points_are():
    figure = plots.rate_distortion(RATES, "y", limit=60, front=([20, 5], [9, 1]))
    (front,) = (x for x in figure.axes[0].lines if x.get_drawstyle() == "steps-post")
    np.testing.assert_array_equal(front.get_xdata(), [5, 20, 60])
    np.testing.assert_array_equal(front.get_ydata(), [1, 9, 9])


def test_sizes_are_lines_within_the_limit_and_arrows_beyond():
    def words(**options):
        levels = {"floor": 136, "half": 30}
        figure = plots.rate_distortion(RATES, "y", levels=levels, **options)
        return {text.get_text() for text in figure.axes[0].texts}

    assert words() == {"floor", "half"}
    assert words(limit=60) == {"floor →", "half"}


@pytest.mark.parametrize(
    ("series", "limit", "message"),
    [
        ({}, None, "no series"),
        ({"a": ([70], [1])}, 60, "no series"),
        ({"a": ([1], [1], [1], [1])}, None, "no more"),
        ({"a": ([0], [1])}, None, "'a' takes 0 bytes"),
        ({"a": ([1], [np.inf])}, None, "'a' holds"),
    ],
)
def test_rate_distortion_refuses(series, limit, message):
    with pytest.raises(ValueError, match=message):
        plots.rate_distortion(series, "y", limit=limit)


def test_histograms_count_every_value_in_common_bins():
    series = {"Keras": np.arange(100), "PyTorch": np.arange(50, 250)}
    steps = plots.histogram(series, "value", bins=7).axes[0].patches
    data = [patch.get_data() for patch in steps]
    assert [each.values.sum() for each in data] == [100, 200]
    np.testing.assert_array_equal(data[0].edges, data[1].edges)
    assert len(data[0].values) == 7
    assert steps[0].get_linestyle() != steps[1].get_linestyle()


def test_a_logarithmic_histogram_draws_bins_of_one_and_none():
    figure = plots.histogram({"pixels": np.array([0, 0, 0, 9])}, "x", bins=3, log=True)
    assert figure.axes[0].get_yscale() == "log"
    assert 0 < figure.axes[0].get_ylim()[0] < 1
    pixels(figure)


@pytest.mark.parametrize("values", [[], [1, np.nan], [[1, 2]]])
def test_histograms_refuse(values):
    with pytest.raises(ValueError, match="'MSE'"):
        plots.histogram({"MSE": values}, "MSE")


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
    boxes = [text.get_window_extent() for text in drawn_texts(figure)]
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


def test_figures_can_be_saved_as_any_other():
    target = io.BytesIO()
    plots.shapes(BLOCKS).savefig(target, format="svg")
    assert target.getvalue().startswith(b"<?xml")
