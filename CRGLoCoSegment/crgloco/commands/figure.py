"""A picture of one prediction: image | global | local | fused, with doubt shown where there is some.

Above the slice that shows most, below the same slice around the place that is worth a look. Outlines
carry the colours of the label table; the manual label, where there is one, is dashed white. Doubt
is laid over uncertain voxels only, so that sure anatomy stays as it was scanned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crgloco.atomic import LONG_PAUSES_S, appearing
from crgloco.inference.confidence import UNCERTAIN_BELOW
from crgloco.io.orientation import Orientation
from crgloco.io.volume import Volume
from crgloco.labels import Label, LabelTable

Classes = npt.NDArray[np.uint8]
Plane = npt.NDArray[Any]

# The darkest shade of doubt begins at UNCERTAIN_BELOW, the brightest at this confidence.
LOWEST = 0.35
BACKGROUND = "#111111"
INK = "#f2f2f2"
# Of a slice across canonical K, J or I: what lies at its left, right, top and bottom.
EDGES = (("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I"))
# Lighter and denser with more doubt, and unlike the outlines: tells also those who see few colours.
DOUBT = ((0.36, 0.10, 0.62, 0.45), (0.85, 0.20, 0.80, 0.65), (1.0, 0.72, 0.98, 0.8))


@dataclass(frozen=True)
class Scene:
    """What is drawn.

    Attributes:
        image: The scan.
        table: Names and colours of the structures.
        answers: Class numbers (K, J, I) per title, in the order of the panels; the last gets the doubt.
        confidence: (K, J, I) 0..1.
        reference: Class numbers of the manual label, if there is one.
        title: Above everything.
    """

    image: Volume
    table: LabelTable
    answers: dict[str, Classes]
    confidence: npt.NDArray[np.float32]
    reference: Classes | None = None
    title: str = ""

    @property
    def fused(self) -> Classes:
        """The last answer."""
        return list(self.answers.values())[-1]


@dataclass(frozen=True)
class View:
    """A slice as radiologists know it: left on the right or front on the left, front or head at the top.

    Attributes:
        orientation: The way of the scan to canonical axes.
        axis: Canonical axis across the slice.
        index: Number of the slice along it.
        size: Millimetres of a pixel, rows and columns.
    """

    orientation: Orientation
    axis: int
    index: int
    size: tuple[float, float]

    @property
    def edges(self) -> tuple[str, str, str, str]:
        """Letters at the left, right, top and bottom edge."""
        return EDGES[self.axis]

    def of(self, array: Plane) -> Plane:
        """Cut the slice out of (K, J, I) as stored."""
        plane: Plane = np.take(self.orientation.apply(array), self.index, self.axis)
        return plane[::-1] if self.axis else plane  # rows of coronal and sagittal slices run towards the head


def draw(scene: Scene, path: Path) -> None:
    """Draw the picture and write it as PNG.

    Raises:
        ResourceError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    view = choose_view(scene)
    plane = view.of(scene.image.array).astype(np.float32)
    whole = _frame(plane, margin=6)
    close = _place_of_doubt(scene, view, whole)
    ratio = _height_over_width(whole, view)
    columns = 1 + len(scene.answers)
    width = 3.6
    figure = Figure(figsize=(columns * width + 0.9, 2 * width * ratio + 1.5), dpi=110, facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    edge = 0.75 / figure.get_figheight()
    grid = figure.add_gridspec(
        2, columns, left=0.035, right=0.93, top=1 - edge, bottom=edge, wspace=0.03, hspace=0.03
    )
    overlay = None
    for row, frame in enumerate((whole, close)):
        for column, title in enumerate(("image", *scene.answers)):
            axes = figure.add_subplot(grid[row, column])
            _show_image(axes, plane, frame, view)
            answer = scene.answers.get(title)
            if answer is not None:
                if column == columns - 1:
                    overlay = _show_doubt(axes, view.of(scene.confidence), view)
                _outline(axes, view.of(answer), scene.table)
            if scene.reference is not None:
                _outline(axes, view.of(scene.reference), scene.table, reference=True)
            if row == 0:
                axes.set_title(_panel_title(title, answer, scene), color=INK, fontsize=11, pad=5)
                _mark(axes, close)
            if column == 0:
                _letters(axes, view, first=row == 0)
    _legend(figure, scene, overlay)
    _save(figure, path)


def choose_view(scene: Scene) -> View:
    """Choose the acquired plane, and in it the slice that shows most structures and most doubt."""
    geometry = scene.image.geometry
    way = Orientation.of(geometry)
    axis = way.order.index(int(np.argmax(geometry.spacing)))
    shown = np.moveaxis(way.apply(scene.fused), axis, 0)
    confidence = np.moveaxis(way.apply(scene.confidence), axis, 0)
    structures = np.stack([(shown == number).any((1, 2)) for number in range(1, scene.table.classes)]).sum(0)
    area = (shown > 0).sum((1, 2))
    doubt = np.clip(UNCERTAIN_BELOW - confidence, 0, None).sum((1, 2))
    worth = structures + area / max(1.0, float(area.max())) + doubt / max(1e-6, float(doubt.max()))
    rows, columns = (geometry.spacing[stored] for number, stored in enumerate(way.order) if number != axis)
    return View(way, axis, int(np.argmax(worth)), (rows, columns))


Frame = tuple[int, int, int, int]  # first row, last row, first column, last column


def _frame(plane: Plane, margin: int) -> Frame:
    """Return the part of a slice that shows something: empty borders say nothing."""
    low, high = np.percentile(plane, (5, 99.5))
    bright = plane > low + 0.08 * (high - low)
    rows = np.flatnonzero(bright.mean(1) > 0.01)
    columns = np.flatnonzero(bright.mean(0) > 0.01)
    if not len(rows) or not len(columns):
        return 0, plane.shape[0] - 1, 0, plane.shape[1] - 1
    return (
        max(0, int(rows[0]) - margin),
        min(plane.shape[0] - 1, int(rows[-1]) + margin),
        max(0, int(columns[0]) - margin),
        min(plane.shape[1] - 1, int(columns[-1]) + margin),
    )


def _place_of_doubt(scene: Scene, view: View, whole: Frame) -> Frame:
    """Return a frame of the shape of ``whole``, 0.4 times as wide, around where most doubt is."""
    from scipy import ndimage

    doubt = np.clip(UNCERTAIN_BELOW - view.of(scene.confidence).astype(np.float32), 0, None)
    if not doubt.any():
        doubt = (view.of(scene.fused) > 0).astype(np.float32)
    height, width = whole[1] - whole[0] + 1, whole[3] - whole[2] + 1
    size = max(8, round(height * 0.4)), max(8, round(width * 0.4))
    summed = ndimage.uniform_filter(doubt, (size[0] // 2, size[1] // 2), mode="constant")
    row, column = np.unravel_index(int(np.argmax(summed)), summed.shape)
    top = int(np.clip(row - size[0] // 2, whole[0], max(whole[0], whole[1] - size[0] + 1)))
    left = int(np.clip(column - size[1] // 2, whole[2], max(whole[2], whole[3] - size[1] + 1)))
    return top, top + size[0] - 1, left, left + size[1] - 1


def _height_over_width(frame: Frame, view: View) -> float:
    ratio = (frame[1] - frame[0] + 1) * view.size[0] / ((frame[3] - frame[2] + 1) * view.size[1])
    return float(np.clip(ratio, 0.4, 2.0))


def _show_image(axes: Any, plane: Plane, frame: Frame, view: View) -> None:
    inside = plane[frame[0] : frame[1] + 1, frame[2] : frame[3] + 1]
    low, high = np.percentile(inside, (1, 99.5))
    axes.imshow(
        plane,
        cmap="gray",
        vmin=low,
        vmax=max(high, low + 1e-6),
        interpolation="bilinear",
        aspect=view.size[0] / view.size[1],
    )
    axes.set_xlim(frame[2] - 0.5, frame[3] + 0.5)
    axes.set_ylim(frame[1] + 0.5, frame[0] - 0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("black")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _outline(axes: Any, plane: Classes, table: LabelTable, *, reference: bool = False) -> None:
    """Draw the border of every structure; a dark edge keeps it visible on bright tissue and on doubt."""
    from matplotlib.patheffects import Normal, Stroke

    for number, label in enumerate(table.labels, 1):
        mask = plane == number
        if not mask.any():
            continue
        colour = "white" if reference else _colour(label)
        rows, columns = mask.shape
        lines = axes.contour(
            np.arange(-1, columns + 1),
            np.arange(-1, rows + 1),
            np.pad(mask, 1).astype(np.float32),
            levels=[0.5],
            colors=[colour],
            linewidths=0.9 if reference else 1.6,
            linestyles="dashed" if reference else "solid",
        )
        width = 1.6 if reference else 2.8
        lines.set_path_effects([Stroke(linewidth=width, foreground="black", alpha=0.8), Normal()])


def _show_doubt(axes: Any, confidence: Plane, view: View) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return axes.imshow(
        np.ma.masked_where(confidence >= UNCERTAIN_BELOW, confidence),
        cmap=LinearSegmentedColormap.from_list("doubt", DOUBT[::-1]),
        vmin=LOWEST,
        vmax=UNCERTAIN_BELOW,
        interpolation="nearest",
        aspect=view.size[0] / view.size[1],
    )


def _panel_title(title: str, answer: Classes | None, scene: Scene) -> str:
    if answer is None:
        return "image" if scene.reference is None else "image, manual label dashed"
    if scene.reference is None:
        return title
    return f"{title}, mean Dice {mean_dice(answer, scene.reference, scene.table.classes):.3f}"


def mean_dice(answer: Classes, reference: Classes, classes: int) -> float:
    """Return the mean Dice 0..1 over the structures that either has."""
    from crgloco.metrics import evaluate_case

    scores = evaluate_case(answer, reference, (1.0, 1.0, 1.0), classes, distances=False)
    return scores.mean_dice or 0.0


def _mark(axes: Any, frame: Frame) -> None:
    """Show in the upper row where the lower row lies."""
    from matplotlib.patches import Rectangle

    corner = (frame[2] - 0.5, frame[0] - 0.5)
    size = (frame[3] - frame[2] + 1, frame[1] - frame[0] + 1)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=INK, linewidth=0.8, linestyle=(0, (4, 3))))


def _letters(axes: Any, view: View, *, first: bool) -> None:
    if not first:
        axes.set_ylabel("the place worth a look", color=INK, fontsize=9)
        return
    left, right, top, bottom = view.edges
    spots: Sequence[tuple[float, float, str]] = (
        (0.02, 0.5, left), (0.98, 0.5, right), (0.5, 0.97, top), (0.5, 0.03, bottom),
    )  # fmt: skip
    for x, y, letter in spots:
        axes.text(x, y, letter, transform=axes.transAxes, color=INK, fontsize=9, ha="center", va="center")


def _legend(figure: Any, scene: Scene, overlay: Any) -> None:
    """Name colours below and the scale of doubt at the right, beside the anatomy and not on it."""
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=_colour(label), linewidth=3, label=label.name.replace("_", " "))
        for label in scene.table.labels
    ]
    if scene.reference is not None:
        entries.append(Line2D([], [], color="white", linewidth=1.5, linestyle="dashed", label="manual label"))
    figure.legend(
        handles=entries,
        loc="lower center",
        ncols=min(len(entries), 7),
        frameon=False,
        labelcolor=INK,
        fontsize=10,
    )
    figure.suptitle(scene.title, color=INK, fontsize=12, y=1 - 0.2 / figure.get_figheight())
    if overlay is not None:
        scale = figure.colorbar(overlay, cax=figure.add_axes((0.94, 0.3, 0.011, 0.4)))
        scale.set_label("confidence (uncertain voxels only)", color=INK, fontsize=9)
        scale.ax.tick_params(colors=INK, labelsize=8)
        scale.ax.set_facecolor("#4d4d4d")
        scale.outline.set_edgecolor(INK)


def _colour(label: Label) -> tuple[float, float, float]:
    red, green, blue = (part / 255 for part in label.colour)
    return red, green, blue


def _save(figure: Any, path: Path) -> None:
    with appearing(path, LONG_PAUSES_S) as part:
        figure.savefig(part, format="png", facecolor=figure.get_facecolor())
