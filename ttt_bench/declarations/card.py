"""Facts about a method that a reader of its results should know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quirk:
    """A peculiarity of the authors' code.

    Attributes:
        code: what the authors' code does; a verb phrase whose subject is that code.
        here: what this implementation does.
        option: the setting `name=value` that does as the authors' code, or "".
    """

    code: str
    here: str
    option: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Facts about a method that a reader of its results should know.

    Facts that follow from the code (needs, modes, passes, settings) are not repeated here.

    Attributes:
        title: full name of the method.
        paper: authors, title, venue.
        source_training: what the method trains on the source domain.
        moves: what moves at test time, in words.
        sizes: how the method handles targets of another size or aspect ratio than the source.
        architecture: how certain it is that the modules equal those of the published numbers.
        quirks: peculiarities of the authors' code, and whether they are reproduced here.
    """

    title: str
    paper: str
    source_training: str
    moves: str
    sizes: str
    architecture: str = "adds no modules"
    quirks: tuple[Quirk, ...] = ()
