"""Streams: order and shifts of a target's images in the online protocol. Imports no torch.

* `fixed`: file order.
* `shuffled`: a random order.
* `continual:a,b,c`: the whole target under the shifts a, then all of it under b, then under c.
* `mixed:a,b,c`: every image once, in file order, under one of the shifts, drawn for each.

a, b and c are shifts of `kinds`, such as `fog@s3`, or several joined by +. A shift may be repeated
(`continual:a,b,a`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from ttt_bench.data.shifts.kinds import Shift, parse_shifts
from ttt_bench.errors import BenchError, unknown

DESCRIPTIONS = {
    "fixed": "file order",
    "shuffled": "a random order",
    "continual": "the whole target under each shift, one after the other",
    "mixed": "every image once, under one of the shifts, drawn for each",
}
SHIFTING = ("continual", "mixed")
"""The streams with shifts."""

Chain = tuple[Shift, ...]


@dataclass(frozen=True)
class Stream:
    """An order of a target's images.

    Attributes:
        kind: a name in `DESCRIPTIONS`.
        segments: the shifts of each segment; streams without shifts have one empty segment.
    """

    kind: str
    segments: tuple[Chain, ...] = ((),)

    def __str__(self) -> str:
        return f"{self.kind}:{','.join(self.names)}" if self.kind in SHIFTING else self.kind

    @property
    def in_file_order(self) -> bool:
        """Whether the stream is the data set itself: file order, without shifts."""
        return self.kind == "fixed"

    @property
    def names(self) -> tuple[str, ...]:
        """The shifts of each segment, such as `fog@s3`; empty for a segment without shifts."""
        return tuple("+".join(map(str, chain)) for chain in self.segments)


class Position(NamedTuple):
    """A position of a stream: an image's index in the data set, and the number of its segment."""

    image: int
    segment: int


def parse_stream(text: str) -> Stream:
    """Return the stream `fixed`, `shuffled`, `continual:a,b,c` or `mixed:a,b,c`.

    Raises:
        BenchError: the kind is unknown, its shifts are missing or not allowed, or some shifts are
            invalid; names all of them.
    """
    kind, colon, rest = (part.strip() for part in text.partition(":"))
    if kind not in DESCRIPTIONS:
        raise unknown("stream", kind, DESCRIPTIONS)
    if kind not in SHIFTING:
        if colon:
            raise BenchError(
                f"stream {text}: {kind} takes no shifts; "
                "give them with the target (DOMAIN+SHIFT@STRENGTH)"
            )
        return Stream(kind)
    if not rest:
        raise BenchError(
            f"stream {kind} needs shifts, separated by commas (such as {kind}:fog@s3,snow@s3)"
        )
    segments, problems = [], []
    for part in rest.split(","):
        try:
            segments.append(parse_shifts(part.strip()))
        except BenchError as error:
            problems += [f"stream {kind}: {problem}" for problem in str(error).splitlines()]
    if problems:
        raise BenchError("\n".join(problems))
    return Stream(kind, tuple(segments))


def stream_positions(stream: Stream, count: int, seed: int) -> list[Position]:
    """Return the positions of a stream over a target of `count` images.

    The order of `shuffled` depends on the seed and the count. The shift of an image of `mixed`
    depends on the seed and its index.
    """
    if stream.kind == "shuffled":
        drawn = random.Random(f"shuffled {seed}")
        keys = [drawn.random() for _ in range(count)]
        return [Position(image, 0) for image in sorted(range(count), key=keys.__getitem__)]
    if stream.kind == "mixed":
        choices = len(stream.segments)
        return [
            Position(image, int(random.Random(f"mixed {seed} {image}").random() * choices))
            for image in range(count)
        ]
    return [
        Position(image, segment)
        for segment in range(len(stream.segments))
        for image in range(count)
    ]
