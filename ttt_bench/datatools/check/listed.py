"""The checks of data sets whose splits are lists of ids: NYUD-v2 and PASCAL-Context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_bench.data.images.files import fingerprint
from ttt_bench.data.images.normals import NYUD_AXES
from ttt_bench.data.label_spaces import LABEL_SPACES, find_label_space
from ttt_bench.data.listed.dataset import ListedDataset, image_sizes
from ttt_bench.data.listed.layout import SPLITS, Listing, find_listing, same_view
from ttt_bench.data.listed.manifest import read_manifest
from ttt_bench.datatools.check.axes import Verdict
from ttt_bench.datatools.check.classes import check_classes
from ttt_bench.datatools.check.contents import check_contents
from ttt_bench.datatools.check.conventions import check_axes
from ttt_bench.datatools.check.findings import Finding, Outcome
from ttt_bench.datatools.check.frameset import Frameset
from ttt_bench.datatools.check.marks import check_marks
from ttt_bench.datatools.check.values import Values
from ttt_bench.errors import DataError
from ttt_bench.util.progress import NoticeRecorder, Progress, Silent

_REMEDY = "Take the file from the archive again"
_SPLIT_OF = {SPLITS[split]: split for split in ("train", "test")}


@dataclass(frozen=True)
class Subject:
    """What is particular to a data set.

    Attributes:
        dataset: the class that loads it.
        labels: of each set of ids, as label spaces name it, the part that holds it.
        form: which form of the data set a list is of, in words.
        values: what is measured on decoded frames.
        axes: measures the normal axes; None where it cannot.
    """

    dataset: type[ListedDataset]
    labels: Mapping[str, str]
    form: Callable[[Listing], str]
    values: Callable[[], Values]
    axes: Callable[[Sequence[Frameset], Progress], Verdict | None]

    @property
    def title(self) -> str:
        return self.dataset.layout.title


def check_listed(
    subject: Subject, root: Path, progress: Progress, full: bool, store: bool
) -> Outcome:
    """Look over a data set's folder."""
    try:
        listings = [
            find_listing(subject.dataset.layout, root, split) for split in ("train", "test")
        ]
        taken = read_manifest(listings[0].root).normal_axes or NYUD_AXES
    except DataError as error:
        return Outcome([Finding("error", "layout", str(error), root)], root)
    folder, entries = listings[0].root, dict[str, Any]()
    form = subject.form(listings[0])
    findings = [Finding("ok", "layout", f"{form}, lists in {subject.dataset.layout.lists}", folder)]
    findings += [*_lists(listings), *_files(subject, listings, progress)]
    if any(finding.level == "error" for finding in findings):
        return Outcome(findings, folder)
    sets = [_frameset(subject, listing) for listing in listings]
    findings += check_contents(sets, subject.values(), _REMEDY, full, progress)
    if all("normals" in part.parts for part in sets):
        verdict = subject.axes(sets, progress)
        findings += check_axes(verdict, taken, store, sets[0].example("normals"))
        if verdict is not None and verdict.axes is not None:
            entries["normal_axes"] = verdict.axes
    for listing in listings:
        labels = {ids: part for ids, part in subject.labels.items() if not listing.lacking(part)}
        if labels:
            decode = subject.dataset.decode
            findings += check_classes(
                _SPLIT_OF[listing.list_name], listing, labels, decode, full, progress
            )
    if any(finding.level == "error" for finding in findings):
        return Outcome(findings, folder, entries)
    marks = [mark for listing in listings for mark in _marks(subject, listing, progress)]
    entries["checked"] = sorted({mark for _, mark, _ in marks})
    return Outcome([*findings, *check_marks(marks, folder)], folder, entries)


def _frameset(subject: Subject, listing: Listing) -> Frameset:
    """A list's frames, complete in what the tasks need, whatever the label space."""
    every = [_parts(subject, listing, name) for name in _spaces(subject)]
    parts = tuple(
        dict.fromkeys(part for parts in every for part in parts if not listing.lacking(part))
    )
    return Frameset(listing.list_name, listing, parts, subject.dataset.decode, same_view)


def _spaces(subject: Subject) -> list[str]:
    """The label spaces with ids for the data set, its usual one first."""
    names = [
        name
        for name, space in LABEL_SPACES.items()
        if any(ids in space.native for ids in subject.labels)
    ]
    return sorted(names, key=lambda name: name != subject.dataset.labels)


def _parts(subject: Subject, listing: Listing, space: str) -> tuple[str, ...]:
    """What a label space's targets are made of; nothing where there are files for none."""
    kind, found = subject.dataset, find_label_space(space)
    try:
        return kind.parts_of(kind.tasks_of(listing, found, Silent()), listing, found)
    except DataError:
        return ()


def _marks(
    subject: Subject, listing: Listing, progress: Progress
) -> Iterator[tuple[str, str, int]]:
    """(split, fingerprint, images) of everything that label spaces read, as the data set gives
    it.
    """
    split, title = _SPLIT_OF[listing.list_name], f"fingerprinting {subject.title}"
    for parts in dict.fromkeys(_parts(subject, listing, space) for space in _spaces(subject)):
        if parts and not any(listing.lacking(part) for part in parts):
            yield split, fingerprint(listing, parts, title, progress), len(listing)


def _lists(listings: Sequence[Listing]) -> Iterator[Finding]:
    for listing in listings:
        expected, lists = listing.layout.published[listing.list_name], listing.layout.lists
        path = listing.root / lists / f"{listing.list_name}.txt"
        good = len(listing) == expected
        message = f"{lists}/{listing.list_name}.txt: {len(listing)} images" + (
            ""
            if good
            else f", the published list has {expected}; take the list from the archive again"
        )
        yield Finding(
            "ok" if good else "warning", "splits", message, path, abs(len(listing) - expected)
        )
    first, second = listings
    both = sorted(set(first.ids) & set(second.ids))
    if both:
        message = f"{len(both)} images are in both lists, such as {both[0]}; training and target must not share any"
        yield Finding("error", "splits", message, first.root / first.layout.lists, len(both))


def _files(subject: Subject, listings: Sequence[Listing], progress: Progress) -> Iterator[Finding]:
    """What the data set itself would refuse or say when it is opened."""
    kind = subject.dataset
    said: dict[str, None] = {}
    for listing in listings:
        noting = NoticeRecorder(progress)
        try:
            space = find_label_space(kind.labels)
            tasks = kind.tasks_of(listing, space, noting)
            parts = kind.parts_of(tasks, listing, space)
            said.update(dict.fromkeys(noting.notices))
            incomplete = [finding for part in parts for finding in _incomplete(listing, part)]
            yield from incomplete
            if not incomplete:
                yield Finding(
                    "ok",
                    "frames",
                    f"{listing.list_name}: {len(listing)} images with {', '.join(parts)}",
                )
                said.update(
                    dict.fromkeys(kind.about(listing, parts, image_sizes(listing, progress)))
                )
        except DataError as error:
            yield Finding("error", "frames", str(error), listing.root)
    for message in said:
        yield Finding("warning", "frames", message, listings[0].root)


def _incomplete(listing: Listing, part: str) -> Iterator[Finding]:
    try:
        listing.require(part)
    except DataError as error:
        yield Finding("error", "frames", str(error), listing.root, len(listing.lacking(part)))
