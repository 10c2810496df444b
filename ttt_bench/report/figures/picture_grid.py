"""Pictures in rows and columns, with heads, row labels and a legend of colours."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ttt_bench.metrics.base import LegendEntry

Picture = NDArray[np.uint8]

FONT_SIZE = 12
_SIDE, _GAP, _HEAD, _MARGIN = 112, 4, 18, 100
"""Longest side of a tile, space between tiles, height of a line of text, margin of labels."""
_FRAME = "#bbbbbb"
_BOX = 11
"""Side of a class's colour in the legend."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of pictures.

    Attributes:
        label: its label; a line of text per entry.
        tiles: a picture (h, w, 3) per column; None leaves the place blank.
        starts: whether a group of rows starts here, with some space above it.
    """

    label: Sequence[str]
    tiles: Sequence[Picture | None]
    starts: bool = False


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows of pictures of one size.

    Attributes:
        heads: the head of each column.
        lines: the rows.
        shape: height and width of the pictures in pixels; tiles keep the aspect.
        legend: name and colour of each class.
    """

    heads: Sequence[str]
    lines: Sequence[Line]
    shape: tuple[int, int]
    legend: Sequence[LegendEntry] = ()

    def drawn(self) -> Picture:
        """Return the picture, (H, W, 3)."""
        canvas = Image.new("RGB", self._size, "white")
        draw = ImageDraw.Draw(canvas)
        for column, words in enumerate(self._wrapped_heads):
            _draw_lines(draw, (self._left(column), 0), words)
        for line, top in zip(self.lines, self._tops, strict=True):
            middle = top + (self._tile[0] - _HEAD * len(line.label)) // 2
            _draw_lines(draw, (2, middle), line.label)
            for column, picture in enumerate(line.tiles):
                if picture is not None:
                    self._paste(canvas, picture, (self._left(column), top))
        self._draw_legend(draw)
        return np.asarray(canvas)

    @cached_property
    def _tile(self) -> tuple[int, int]:
        """Height and width of a tile.

        A smaller picture is enlarged by a whole number, which keeps files small.
        """
        scale = _SIDE / max(self.shape)
        scale = int(scale) if scale >= 1 else scale
        return max(1, round(self.shape[0] * scale)), max(1, round(self.shape[1] * scale))

    @cached_property
    def _wrapped_heads(self) -> list[list[str]]:
        return [_wrapped(head, self._tile[1]) for head in self.heads]

    @cached_property
    def _tops(self) -> list[int]:
        """Upper edge of each row, and nothing else."""
        top = _HEAD * max(map(len, self._wrapped_heads)) + _GAP
        tops: list[int] = []
        for line in self.lines:
            top += _GAP * (line.starts and bool(tops))
            tops.append(top)
            top += self._tile[0] + _GAP
        return tops

    @property
    def _below(self) -> int:
        """Lower edge of the tiles."""
        return self._tops[-1] + self._tile[0] + 2 * _GAP

    @property
    def _width(self) -> int:
        return self._left(len(self.heads))

    @property
    def _size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        places = self._legend_places()
        lines = 1 + places[-1][1] if places else 0
        return self._width, self._below + lines * _HEAD

    def _left(self, column: int) -> int:
        return _MARGIN + column * (self._tile[1] + _GAP)

    def _paste(self, canvas: Image.Image, picture: Picture, corner: tuple[int, int]) -> None:
        """Paste a picture in the size of a tile, with a frame around it."""
        height, width = self._tile
        # only a larger picture is averaged
        larger = picture.shape[1] > width
        filtering = Image.Resampling.BOX if larger else Image.Resampling.NEAREST
        canvas.paste(Image.fromarray(picture).resize((width, height), filtering), corner)
        left, top = corner
        frame = (left - 1, top - 1, left + width, top + height)
        ImageDraw.Draw(canvas).rectangle(frame, outline=_FRAME)

    def _legend_places(self) -> list[tuple[int, int]]:
        """Return (left edge, line) of each class's entry."""
        places, left, line = [], _MARGIN, 0
        for name, _ in self.legend:
            need = 16 + round(_length(name)) + 14
            if left + need > self._width and left > _MARGIN:
                left, line = _MARGIN, line + 1
            places.append((left, line))
            left += need
        return places

    def _draw_legend(self, draw: ImageDraw.ImageDraw) -> None:
        for (left, line), (name, colour) in zip(self._legend_places(), self.legend, strict=True):
            top = self._below + line * _HEAD + 2
            draw.rectangle((left, top, left + _BOX, top + _BOX), fill=colour)
            _draw_text(draw, (left + 16, top), name)


def png(picture: Picture) -> bytes:
    """Return a picture as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def webp(picture: Picture) -> bytes:
    """Return a picture as a lossy WebP file, a third of the size of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", quality=90)
    return buffer.getvalue()


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


def _length(text: str) -> float:
    """Return the width of a text in pixels."""
    return ImageFont.load_default(size=FONT_SIZE).getlength(text)


def _draw_lines(draw: ImageDraw.ImageDraw, corner: tuple[int, int], lines: Sequence[str]) -> None:
    for line, words in enumerate(lines):
        _draw_text(draw, (corner[0], corner[1] + line * _HEAD + 2), words)


def _draw_text(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str) -> None:
    draw.text(corner, text, fill="black", font=ImageFont.load_default(size=FONT_SIZE))
