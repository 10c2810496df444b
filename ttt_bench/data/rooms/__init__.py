"""Rendered rooms: an embedded source domain and its targets, with exact labels for all four tasks.

`render` makes images from (look, seed, indices, size) alone. `Rooms` stores a split of them in a
cache folder and reads batches from it. The appearance of a domain is data, in `looks`.

Torch is imported with `render` and `Rooms`, not before, so that listings of domains can read
`looks` quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ttt_bench.data.rooms.looks import CLASSES, LOOKS, SPLITS, Look

if TYPE_CHECKING:
    from ttt_bench.data.rooms.dataset import Rooms
    from ttt_bench.data.rooms.renderer import render

__all__ = ["CLASSES", "LOOKS", "SPLITS", "Look", "Rooms", "render"]


def __getattr__(name: str) -> Any:
    if name == "Rooms":
        from ttt_bench.data.rooms.dataset import Rooms

        return Rooms
    if name == "render":
        from ttt_bench.data.rooms.renderer import render

        return render
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
