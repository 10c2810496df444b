"""Figures as SVG markup for the page: light and dark, with values that a script can show.

The interactive figure is the static one: the SVG that matplotlib writes is put into the page. The
script `templates/figures.js` (a few kilobytes) adds the values of the nearest point and the
switches of the legend; without it the figure is static. A plotting library for browsers would be a
second drawing of the same numbers, and megabytes on a page that loads nothing from the network.

An artist takes part if its gid is made by `gid`. The script reads these attributes of its group:

- `data-series`: the line that it belongs to; the legend shows and hides whole series.
- `data-role`: `entry` for the text of a legend's entry, `handle` for its sample, or any other word.
- `data-tips`: a text per point, in the order of the points.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

INK, GRID, PAPER = "#1b1b1b", "#e6e6e6", "#ffffff"
"""Colours of texts, of grids and of the ground. On a page they follow its scheme."""
_SCHEME = {
    INK: "currentColor",
    "#000000": "currentColor",
    GRID: "rgb(128 128 128 / .25)",
    PAPER: "var(--paper, Canvas)",
}
_GID = re.compile(r"s(?P<series>\w+)-(?P<role>[a-z]+)(-\w+)?")
_COLOUR = re.compile("|".join(_SCHEME))
_FONT = re.compile(r"font-family: [^;]*; ?")
_INHERITED = "stroke-linejoin: round; stroke-linecap: butt"
"""What matplotlib's SVG files set by a style sheet, which would apply to the whole page."""
_SIZE = "display: block; width: 40rem; max-width: max(100vw - 3rem, 28rem)"
"""On a narrow screen a figure is wider than the screen, so that its texts can be read."""
_LEFT_OUT = ("metadata", "style")


def gid(series: str | int, role: str, panel: str | int = "") -> str:
    """Return the gid of an artist, such as `s3-curve-0`."""
    return f"s{series}-{role}-{panel}" if panel != "" else f"s{series}-{role}"


def inline(svg: bytes, name: str, alt: str, tips: Mapping[str, Sequence[str]]) -> str:
    """Return an SVG file as markup for a page.

    The ground is transparent, and texts, axes and grids follow the colours of the page.

    Args:
        name: the start of every ID, so that several figures of a page have different ones.
        alt: the figure in words.
        tips: map the gid of an artist to a text for each of its points.
    """
    root = ElementTree.fromstring(svg)
    _prune(root)
    for element in root.iter():
        _plain_names(element)
        _mark(element, tips)
        for key, value in element.attrib.items():
            element.set(key, _scoped(key, value, name))
    _ground(root)
    root.attrib = {
        "class": "figure",
        "role": "img",
        "aria-label": alt,
        "viewBox": root.attrib["viewBox"],
        "style": f"{_INHERITED}; {_SIZE}",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _prune(root: Element) -> None:
    """Remove metadata and style sheets."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in _LEFT_OUT:
                parent.remove(child)


def _plain_names(element: Element) -> None:
    """Remove namespaces, which HTML does not need."""
    element.tag = element.tag.rpartition("}")[2]
    element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}


def _mark(element: Element, tips: Mapping[str, Sequence[str]]) -> None:
    """Add the attributes that the script reads."""
    own = element.get("id", "")
    found = _GID.fullmatch(own)
    if found is not None:
        element.set("data-series", found["series"])
        element.set("data-role", found["role"])
    if own in tips:
        element.set("data-tips", json.dumps(list(tips[own]), ensure_ascii=False))


def _scoped(key: str, value: str, name: str) -> str:
    """Return an attribute with the name before IDs, and colours that follow the page."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    if key == "style":
        # texts have the font of the page
        value = _FONT.sub("", value)
        value = _COLOUR.sub(lambda found: _SCHEME[found.group()], value)
    return value.replace("url(#", f"url(#{name}-")


def _ground(root: Element) -> None:
    """Make the ground of the figure and of its panels transparent."""
    for group in _grounds(root):
        for path in group.findall("path"):
            path.set("style", "fill: none")


def _grounds(root: Element) -> Iterator[Element]:
    """Yield the first patch of the figure and of each of its panels, which is the ground."""
    for group in root.iter("g"):
        own = group.get("id", "").rpartition("-")[2]
        if own.startswith(("figure_", "axes_")):
            patch = next(iter(group), None)
            if patch is not None and patch.get("id", "").rpartition("-")[2].startswith("patch_"):
                yield patch
