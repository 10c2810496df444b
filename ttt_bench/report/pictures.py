"""Example images: image, truth, Base and each method side by side, for every task of embedded
domains.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ttt_bench.metrics.colours import (
    class_colour,
    colour_depth,
    colour_edge,
    colour_normals,
    colour_semseg,
)
from ttt_bench.metrics.scores import align
from ttt_bench.results import store
from ttt_bench.stats.comparison import Comparison
from ttt_bench.tasks import IGNORE, TASKS

Picture = NDArray[np.uint8]
Examples = Mapping[str, np.ndarray]

CAPTION = (
    "Predictions of the last step. Depth and edge are mapped on the truth with one scale and shift an image, for this "
    "picture alone, and are coloured in the truth's range. Light grey: no truth."
)
_SIDE, _GAP, _HEAD, _MARGIN = 112, 4, 18, 78


def examples_of(comparison: Comparison) -> tuple[int, dict[str, Examples]] | None:
    """The first seed with example images, and label -> examples of that seed; None where none
    were stored.
    """
    done = comparison.cells[comparison.cells["state"] == "done"]
    for seed in sorted(done["seed"].unique()):
        cells = done[done["seed"] == seed]
        stored: dict[str, Examples] = {
            str(label): store.read_examples(Path(folder))
            for label, folder in zip(cells["label"], cells["folder"], strict=True)
        }
        stored = {label: examples for label, examples in stored.items() if examples}
        if stored:
            return int(seed), stored
    return None


def compose(
    examples: Mapping[str, Examples], classes: Sequence[str] = (), limit: int = 4
) -> Picture:
    """One picture: a line for every example and task, columns image, truth and each label, and the
    classes below.

    Args:
        examples: label -> what `store.read_examples` gives; images are those of the first label,
            and a label that was stored with other images is left blank.
        classes: names of the semantic classes.
        limit: at most so many images.
    """
    first = next(iter(examples.values()))
    tasks = [task for task in TASKS if f"truth_{task}" in first]
    count = min(limit, len(first["image"]))
    heads = ["image", "truth", *examples]
    height, width = _cell_size(first["image"].shape[1:3])
    top = _HEAD * max(len(_wrapped(head, width)) for head in heads) + _GAP
    legend = _legend(classes, _MARGIN + len(heads) * (width + _GAP)) if "semseg" in tasks else []
    below = top + count * (len(tasks) * (height + _GAP) + _GAP)
    size = (
        _MARGIN + len(heads) * (width + _GAP),
        below + (_HEAD * (1 + legend[-1][1]) if legend else 0),
    )
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=12)
    for column, head in enumerate(heads):
        for line, words in enumerate(_wrapped(head, width)):
            draw.text(
                (_MARGIN + column * (width + _GAP), line * _HEAD + 2),
                words,
                fill="black",
                font=font,
            )
    for position in range(count):
        for task in tasks:
            draw.text(
                (2, top + height // 2 - 8),
                f"{first['indices'][position]}: {task}",
                fill="black",
                font=font,
            )
            for column, picture in enumerate(_line(examples, first, position, task)):
                if picture is not None:
                    canvas.paste(
                        _tile(picture, width, height), (_MARGIN + column * (width + _GAP), top)
                    )
            top += height + _GAP
        top += _GAP
    for index, (left, line) in enumerate(legend):
        corner = (left, below + line * _HEAD + 2)
        draw.rectangle((*corner, corner[0] + 11, corner[1] + 11), fill=class_colour(index))
        draw.text((corner[0] + 16, corner[1]), classes[index], fill="black", font=font)
    return np.asarray(canvas)


def png(picture: Picture) -> bytes:
    """A picture as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def coloured(task: str, truth: np.ndarray, prediction: np.ndarray | None = None) -> Picture:
    """A prediction of one image in colours, (H, W, 3), or the truth where there is none.

    Depth and edge are mapped on the truth by least squares over its valid pixels, as the score does
    for a batch, and coloured in the truth's range.
    """
    values = truth if prediction is None else prediction
    if task == "semseg":
        return colour_semseg(values)
    if task == "normals":
        return colour_normals(values)
    target = truth.astype(np.float64)
    valid = (target != IGNORE) & np.isfinite(target)
    low, high = (
        (float(target[valid].min()), float(target[valid].max())) if valid.any() else (0.0, 1.0)
    )
    shown = target if prediction is None else _aligned(prediction.astype(np.float64), target, valid)
    return colour_depth(shown, low, high) if task == "depth" else colour_edge(shown, low, high)


def _aligned(prediction: np.ndarray, target: np.ndarray, valid: np.ndarray) -> np.ndarray:
    p, t = prediction[valid], target[valid]
    scale, shift = align(
        [valid.sum(), p.sum(), t.sum(), (p * p).sum(), (t * t).sum(), (p * t).sum()]
    )
    return scale * prediction + shift


def _line(
    examples: Mapping[str, Examples], first: Examples, position: int, task: str
) -> list[Picture | None]:
    truth = first[f"truth_{task}"][position]
    pictures: list[Picture | None] = [first["image"][position], coloured(task, truth)]
    for stored in examples.values():
        same = np.array_equal(stored.get("indices", []), first["indices"])
        prediction = stored.get(f"prediction_{task}") if same else None
        pictures.append(None if prediction is None else coloured(task, truth, prediction[position]))
    return pictures


def _cell_size(shape: tuple[int, int]) -> tuple[int, int]:
    """Small images are enlarged and large ones made smaller, keeping their aspect."""
    scale = _SIDE / max(shape)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _wrapped(text: str, width: int) -> list[str]:
    """A column's head on lines that fit its width."""
    font = ImageFont.load_default(size=12)
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _legend(classes: Sequence[str], width: int) -> list[tuple[int, int]]:
    """(left edge, line) of each class's entry."""
    font = ImageFont.load_default(size=12)
    places, left, line = [], _MARGIN, 0
    for name in classes:
        need = 16 + round(font.getlength(name)) + 14
        if left + need > width and left > _MARGIN:
            left, line = _MARGIN, line + 1
        places.append((left, line))
        left += need
    return places


def _tile(picture: Picture, width: int, height: int) -> Image.Image:
    # enlarged pixels stay as they are; only what is made smaller is averaged
    filtering = Image.Resampling.NEAREST if picture.shape[1] <= width else Image.Resampling.BOX
    return Image.fromarray(picture).resize((width, height), filtering)
