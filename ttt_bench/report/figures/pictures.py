"""Example images: image, truth, and the predictions of Base and every method, for every task."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ttt_bench.metrics.base import LegendEntry, metrics_of
from ttt_bench.results import store
from ttt_bench.results.integrity import EXAMPLES, damages
from ttt_bench.results.records import is_file
from ttt_bench.stats.comparison import Comparison
from ttt_bench.tasks import TASKS

Picture = NDArray[np.uint8]
Examples = Mapping[str, np.ndarray]
"""The example images of a cell, as `store.read_examples` returns them."""

CAPTION = (
    "Predictions of the last step. For this picture, depth and edge are aligned with the truth by "
    "one scale and shift per image and coloured in the truth's range. Light grey: no truth."
)
IMAGES = 4
"""Images in a picture, at most."""
FONT_SIZE = 12
_SIDE, _GAP, _HEAD, _MARGIN = 112, 4, 18, 78
"""Longest side of a tile, space between tiles, height of a line of text, width of row labels."""
_BOX = 11
"""Side of a class's colour in the legend."""


def examples_of(comparison: Comparison) -> tuple[int, dict[str, Examples]] | None:
    """Return the first seed with example images, and its examples by label; None without any."""
    done = comparison.done
    for seed, cells in done.groupby("seed"):
        stored = _stored(cells)
        if stored:
            return int(str(seed)), stored
    return None


def _stored(cells: pd.DataFrame) -> dict[str, Examples]:
    """Map label to examples, for the cells that have any; damaged ones are left out."""
    found: dict[str, Examples] = {}
    for label, name, manifest in zip(
        cells["label"], cells["folder"], cells["manifest"], strict=True
    ):
        folder = Path(name)
        if is_file(folder / EXAMPLES) and not damages(folder, manifest):
            found[str(label)] = store.read_examples(folder)
    return found


def png(picture: Picture) -> bytes:
    """Return a picture as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def compose(
    examples: Mapping[str, Examples], classes: Sequence[str] = (), limit: int = IMAGES
) -> Picture:
    """Return one picture: a line per example and task, a column per label, and a legend of classes.

    The first two columns are the image and the truth.

    Args:
        examples: map label to its examples; images and truth are those of the first label. A label
            with other images is left blank.
        classes: names of the semantic classes.
        limit: largest number of images.
    """
    first = next(iter(examples.values()))
    layout = _layout(first, ("image", "truth", *examples), classes, limit)
    canvas = Image.new("RGB", layout.size, "white")
    draw = ImageDraw.Draw(canvas)
    _draw_heads(draw, layout)
    for image in range(layout.images):
        for task in layout.tasks:
            corner = layout.corner(image, task)
            _draw_text(draw, (2, corner[1] + layout.height // 2 - 8), _name(first, image, task))
            _paste(canvas, layout, corner, _tiles(examples, image, task))
    _draw_legend(draw, layout)
    return np.asarray(canvas)


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Positions in a picture, in pixels.

    Attributes:
        heads: the head of each column, as lines of text.
        images: number of images.
        height: height of a tile.
        width: width of a tile.
        classes: names and colours of the classes in the legend.
        legend: (left edge, line) of each class in the legend.
    """

    heads: Sequence[Sequence[str]]
    tasks: Sequence[str]
    images: int
    height: int
    width: int
    classes: Sequence[LegendEntry]
    legend: Sequence[tuple[int, int]]

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the picture."""
        lines = 1 + self.legend[-1][1] if self.legend else 0
        return _MARGIN + len(self.heads) * (self.width + _GAP), self.below + lines * _HEAD

    @property
    def below(self) -> int:
        """Return the lower edge of the tiles."""
        head = _HEAD * max(map(len, self.heads)) + _GAP
        return head + self.images * self._image_height

    @property
    def _image_height(self) -> int:
        return len(self.tasks) * (self.height + _GAP) + _GAP

    def left(self, column: int) -> int:
        """Return the left edge of a column."""
        return _MARGIN + column * (self.width + _GAP)

    def corner(self, image: int, task: str) -> tuple[int, int]:
        """Return the upper left corner of the tiles of an image and a task."""
        first = self.below - (self.images - image) * self._image_height
        return self.left(0), first + self.tasks.index(task) * (self.height + _GAP)


def _layout(first: Examples, heads: Sequence[str], classes: Sequence[str], limit: int) -> _Layout:
    tasks = [task for task in TASKS if f"truth_{task}" in first]
    height, width = _tile_size(first["image"].shape[1:3])
    shown = [entry for task in tasks for entry in metrics_of(task).legend(classes)]
    return _Layout(
        heads=[_wrapped(head, width) for head in heads],
        tasks=tasks,
        images=min(limit, len(first["image"])),
        height=height,
        width=width,
        classes=shown,
        legend=_legend([name for name, _ in shown], _MARGIN + len(heads) * (width + _GAP)),
    )


def _tile_size(shape: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of a tile: the longest side is `_SIDE`, the aspect is kept."""
    scale = _SIDE / max(shape)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _wrapped(text: str, width: int) -> list[str]:
    """Return a text as lines that fit a width, except for words that are wider."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if _length(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _legend(classes: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Return (left edge, line) of each class's entry, in lines of this width."""
    places, left, line = [], _MARGIN, 0
    for name in classes:
        need = 16 + round(_length(name)) + 14
        if left + need > width and left > _MARGIN:
            left, line = _MARGIN, line + 1
        places.append((left, line))
        left += need
    return places


def _length(text: str) -> float:
    """Return the width of a text in pixels."""
    return ImageFont.load_default(size=FONT_SIZE).getlength(text)


def _name(first: Examples, image: int, task: str) -> str:
    return f"{first['indices'][image]}: {task}"


def _tiles(examples: Mapping[str, Examples], image: int, task: str) -> Iterator[Picture | None]:
    """Yield the pictures of a line: image, truth, and each label's prediction; None: blank."""
    first = next(iter(examples.values()))
    yield first["image"][image]
    yield metrics_of(task).picture(first[f"truth_{task}"][image])
    for stored in examples.values():
        yield _prediction(stored, first, image, task)


def _prediction(stored: Examples, first: Examples, image: int, task: str) -> Picture | None:
    """Return a label's prediction in colours; None if it has other images or lacks the task."""
    predictions = stored.get(f"prediction_{task}")
    if predictions is None or not np.array_equal(stored["indices"], first["indices"]):
        return None
    return metrics_of(task).picture(first[f"truth_{task}"][image], predictions[image])


def _draw_heads(draw: ImageDraw.ImageDraw, layout: _Layout) -> None:
    for column, lines in enumerate(layout.heads):
        for line, words in enumerate(lines):
            _draw_text(draw, (layout.left(column), line * _HEAD + 2), words)


def _draw_legend(draw: ImageDraw.ImageDraw, layout: _Layout) -> None:
    for (left, line), (name, colour) in zip(layout.legend, layout.classes, strict=True):
        top = layout.below + line * _HEAD + 2
        draw.rectangle((left, top, left + _BOX, top + _BOX), fill=colour)
        _draw_text(draw, (left + 16, top), name)


def _draw_text(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str) -> None:
    draw.text(corner, text, fill="black", font=ImageFont.load_default(size=FONT_SIZE))


def _paste(
    canvas: Image.Image,
    layout: _Layout,
    corner: tuple[int, int],
    pictures: Iterator[Picture | None],
) -> None:
    """Paste the pictures of a line next to each other, from this corner on."""
    for column, picture in enumerate(pictures):
        if picture is not None:
            canvas.paste(_tile(picture, layout), (layout.left(column), corner[1]))


def _tile(picture: Picture, layout: _Layout) -> Image.Image:
    """Return a picture in the size of a tile; only a larger picture is averaged."""
    larger = picture.shape[1] > layout.width
    filtering = Image.Resampling.BOX if larger else Image.Resampling.NEAREST
    return Image.fromarray(picture).resize((layout.width, layout.height), filtering)
