"""The figure of rate and distortion: what a codec's bytes buy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

import matplotlib.axes
import numpy as np
from matplotlib.lines import Line2D

from caebook.plots.style import (
    DPI,
    FRAMEWORK_COLORS,
    FRAMEWORKS,
    OTHERS,
    REFERENCE,
    WIDTH,
    Figure,
    Framework,
    Look,
    Numbers,
    check_label,
    check_levels,
    check_series,
    set_log_scale,
    text_width,
    to_row,
)

# Each codec that exists in the frameworks has one marker in both colours; each other
# codec has a marker and a colour. Eleven is a prime, so that no look repeats soon.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p")
FRONT = {"color": "#CCCCCC", "linewidth": 5}


@dataclass(frozen=True, eq=False)
class Rate:
    """The quality of a codec's images at one or more rates.

    Parameters
    ----------
    codec
        Name for the legend. Series of one codec share a look: in both frameworks the
        marker, real and ideal the marker and the colour.
    bytes
        Per image, ``(n,)``, finite and above 0.
    quality
        ``(n,)``, finite.
    framework
        ``"keras"`` or ``"torch"``: gives the framework's colour.
    ideal
        Whether these are bytes that no real file or stream has, say an entropy; drawn
        with hollow markers and a dotted line.

    Raises
    ------
    TypeError
        If the name is not a string.
    ValueError
        If bytes and quality are not equally many finite numbers, bytes are not above
        0, or the framework is unknown.
    """

    codec: str
    bytes: Numbers
    quality: Numbers
    _: KW_ONLY
    framework: Framework | None = None
    ideal: bool = False

    def __post_init__(self) -> None:
        check_label(self.codec, self.framework, "Rate")
        for name in ("bytes", "quality"):
            row = to_row(getattr(self, name), f"Rate {self.label!r}: {name}")
            object.__setattr__(self, name, row)
        if len(self.bytes) != len(self.quality):
            raise ValueError(
                f"Rate {self.label!r}: {len(self.bytes)} bytes and "
                f"{len(self.quality)} of quality; as many are needed"
            )
        if self.bytes.min() <= 0:
            raise ValueError(
                f"Rate {self.label!r}: {self.bytes.min():.4g} bytes; an image takes "
                "more than 0"
            )

    @property
    def label(self) -> str:
        """Codec, framework and whether ideal, as text."""
        framework = f", {FRAMEWORKS[self.framework]}" if self.framework else ""
        return f"{self.codec}{framework}{', ideal' if self.ideal else ''}"

    @property
    def rising(self) -> tuple[np.ndarray, np.ndarray]:
        """Bytes and quality in the order of bytes."""
        order = np.argsort(self.bytes, kind="stable")
        return self.bytes[order], self.quality[order]


def rate_distortion(
    series: Sequence[Rate],
    ylabel: str,
    *,
    limit: float | None = None,
    front: Rate | None = None,
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """Draw the quality of codecs against the bytes that they take for an image.

    Parameters
    ----------
    series
        The points of each are joined in the order of bytes.
    ylabel
        What the quality is, with its unit.
    limit
        End of the axis of bytes, which is then linear and starts at 0; a series that
        lies beyond is left out. Without a limit the axis is logarithmic and shows all.
    front
        The best of all series, drawn as a broad grey staircase: the quality that can
        be had for so many bytes or fewer.
    levels
        Label → bytes to compare with, each a vertical grey line, or an arrow at the
        edge if it lies beyond the limit.

    Returns
    -------
    Figure
        Higher than others if the legend is long.

    Raises
    ------
    TypeError
        If a series is not a `Rate`.
    ValueError
        If there is no series (within the limit), two are of the same codec, framework
        and kind, or a level is not finite.
    """
    check_series(series, Rate, "rate_distortion")
    if front is not None:
        check_series([front], Rate, "rate_distortion: front")
    sizes = check_levels(levels, "rate_distortion")
    # Looks are given before the limit is applied: they are the same for any limit.
    drawn = list(zip(series, _looks(series), strict=True))
    if limit is not None:
        drawn = [(rate, look) for rate, look in drawn if rate.bytes.min() <= limit]
    if not drawn:
        raise ValueError(f"rate_distortion: no series within {limit:g} bytes")
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.add_subplot()
    for rate, look in drawn:
        axes.plot(
            *rate.rising,
            color=look.color,
            marker=look.marker,
            markerfacecolor=look.face,
            linestyle=look.dashes,
            linewidth=1.1,
            zorder=3 if rate.framework else 2.5,
        )
    if limit is None:
        set_log_scale(axes, "x")
    else:
        _end_axis(axes, limit, [rate for rate, _ in drawn])
    if front is not None:
        _draw_front(axes, front)
    _draw_sizes(axes, sizes, limit)
    axes.set(xlabel="bytes per image", ylabel=ylabel)
    _add_legend(figure, drawn, front)
    return figure


def _looks(series: Sequence[Rate]) -> list[Look]:
    """Give each codec a marker, and a colour unless it has its framework's."""
    systems = _places(rate.codec for rate in series if rate.framework)
    others = _places(rate.codec for rate in series if not rate.framework)
    looks = []
    for rate in series:
        if rate.framework:
            index, color = systems[rate.codec], FRAMEWORK_COLORS[rate.framework]
        else:
            place = others[rate.codec]
            color = OTHERS[place % len(OTHERS)]
            # No marker of the frameworks, as long as there are others; one further in
            # each round of colours.
            index = len(systems) + place + place // len(OTHERS)
        dashes = ":" if rate.ideal else "-"
        looks.append(Look(color, MARKERS[index % len(MARKERS)], dashes, rate.ideal))
    return looks


def _places(names: Iterable[str]) -> dict[str, int]:
    """Number the different names in the order in which they come first."""
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def _end_axis(axes: matplotlib.axes.Axes, limit: float, series: Sequence[Rate]) -> None:
    """End the axis of bytes, and fit the other to the points that remain."""
    seen = np.concatenate([rate.quality[rate.bytes <= limit] for rate in series])
    margin = 0.05 * max(float(np.ptp(seen)), 1e-3)
    axes.set(xlim=(0, limit), ylim=(seen.min() - margin, seen.max() + margin))


def _draw_front(axes: matplotlib.axes.Axes, front: Rate) -> None:
    """Draw a staircase from point to point, and on to the right edge."""
    size, quality = front.rising
    axes.plot(
        [*size, axes.get_xlim()[1]],
        [*quality, quality[-1]],
        **FRONT,
        drawstyle="steps-post",
        solid_capstyle="butt",
        zorder=1,
        scalex=False,
        scaley=False,
    )


def _draw_sizes(
    axes: matplotlib.axes.Axes, sizes: Mapping[str, float], limit: float | None
) -> None:
    """Draw sizes to compare with: vertical lines, or arrows where they lie beyond."""
    beyond = 0
    for label, size in sizes.items():
        if limit is None or size <= limit:
            axes.axvline(size, color=REFERENCE, linestyle=(0, (4, 2)), linewidth=1)
            text, place, angle = label, (size, 0.98), 90
            across = axes.get_xaxis_transform()
            align = {"ha": "right", "va": "top"}
        else:
            text, place, angle = f"{label} →", (0.99, 0.03 + 0.08 * beyond), 0
            across = axes.transAxes
            align = {"ha": "right", "va": "bottom"}
            beyond += 1
        axes.text(*place, text, transform=across, rotation=angle, fontsize=9, **align)


def _add_legend(
    figure: Figure, drawn: Sequence[tuple[Rate, Look]], front: Rate | None
) -> None:
    """Name systems by marker, frameworks by colour, and everything else by both."""
    systems: dict[str, Line2D] = {}
    colors: dict[str, Line2D] = {}
    others: dict[str, Line2D] = {}
    for rate, look in drawn:
        name, color, width, group = rate.label, look.color, 1.1, others
        if rate.framework:
            framework = FRAMEWORKS[rate.framework]
            colors[framework] = Line2D([], [], color=color, linewidth=3)
            name = f"{rate.codec}, ideal" if rate.ideal else rate.codec
            color, width, group = REFERENCE, 0, systems
        face = "white" if rate.ideal else color
        group[name] = Line2D(
            [], [], color=color, marker=look.marker, markerfacecolor=face, lw=width
        )
    entries = [*systems.items(), *colors.items(), *others.items()]
    if front is not None:
        entries.append((front.label, Line2D([], [], **FRONT)))
    widest = max(text_width(figure, label, 9) for label, _ in entries)
    columns = max(1, min(3, int(WIDTH * DPI / (widest + 0.35 * DPI))))
    rows = -(-len(entries) // columns)
    figure.set_figheight(figure.get_figheight() + 0.18 * max(0, rows - 2))
    figure.legend(
        [line for _, line in entries],
        [label for label, _ in entries],
        loc="outside upper left",
        ncols=columns,
        handlelength=1.4,
        columnspacing=0.8,
        handletextpad=0.5,
        borderaxespad=0.2,
    )
