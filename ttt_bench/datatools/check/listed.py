"""The checks of data sets whose splits are lists of ids: NYUD-v2 and PASCAL-Context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ttt_bench.data.images.normals import NYUD_AXES
from ttt_bench.data.label_spaces import LABEL_SPACES, find_label_space
from ttt_bench.data.listed.dataset import ListedDataset, image_sizes
from ttt_bench.data.listed.layout import LIST_OF, Listing, find_listing, same_view
from ttt_bench.data.listed.manifest import read_manifest
from ttt_bench.data.splits import overlaps
from ttt_bench.datatools.check.agreement import check_agreement
from ttt_bench.datatools.check.agreement.findings import Maker
from ttt_bench.datatools.check.contents import check_contents
from ttt_bench.datatools.check.conventions import Measurement, axes_entry, check_axes
from ttt_bench.datatools.check.findings import Finding, Measured, Results, doubted, has_error
from ttt_bench.datatools.check.fingerprints import (
    SplitFiles,
    check_digests,
    check_fingerprints,
    checked_entry,
    fingerprints,
)
from ttt_bench.datatools.check.frameset import Frameset
from ttt_bench.datatools.check.labels.classes import LabelMaps, check_classes
from ttt_bench.datatools.check.values import Values
from ttt_bench.errors import DataError
from ttt_bench.tasks import PAPER_TASKS
from ttt_bench.util.progress import Progress

_HINT = "Take the file from the archive again"
_SPLIT_OF = {LIST_OF[split]: split for split in ("train", "test")}


@dataclass(frozen=True, kw_only=True)
class CheckedSet:
    """The properties of a data set that its checks need.

    Attributes:
        dataset: the class that loads it.
        labels: the part that holds each kind of ids, as label spaces name it.
        form: describes the form of the data set to which a list belongs.
        values: makes a collector of values of decoded frames.
        measure_axes: measures the normal axes; returns None if that is not possible.
        contours: the function that makes the contour map of each part, as for `check_agreement`.
        check_labels: compares label maps with normals, whose axes are given.
    """

    dataset: type[ListedDataset]
    labels: Mapping[str, str]
    form: Callable[[Listing], str]
    values: Callable[[], Values]
    measure_axes: Callable[[Sequence[Frameset], Progress], Measurement | None]
    contours: Mapping[str, Maker]
    check_labels: Callable[[Sequence[Frameset], str, Progress], Iterator[Finding]]

    @property
    def title(self) -> str:
        """The name of the data set in messages."""
        return self.dataset.layout.title

    def spaces(self) -> list[str]:
        """Return the label spaces with ids for the data set, its default one first."""
        names = [name for name, space in LABEL_SPACES.items() if space.native.keys() & self.labels]
        return sorted(names, key=lambda name: name != self.dataset.labels)

    def parts(
        self, listing: Listing, space: str, tasks: Sequence[str] = PAPER_TASKS
    ) -> tuple[str, ...]:
        """Return the parts that a label space's targets are made of; empty without any target."""
        found = find_label_space(space)
        try:
            present = self.dataset.tasks_of(listing, found, tasks).tasks
        except DataError:
            return ()
        return self.dataset.parts_of(present, listing, found)

    def frameset(self, listing: Listing) -> Frameset:
        """Return the frames of a list with the parts, present for all, that any target needs."""
        tasks = self.dataset.layout.tasks
        needed = [part for space in self.spaces() for part in self.parts(listing, space, tasks)]
        return Frameset(
            name=listing.list_name,
            frames=listing,
            parts=tuple(dict.fromkeys(part for part in needed if not listing.lacking(part))),
            decode=self.dataset.decode,
            alike=same_view,
        )


class _Files(NamedTuple):
    """The findings on the files of a list, and notices that may repeat for the other list."""

    findings: list[Finding]
    notices: Sequence[str]


def check_listed(
    checked: CheckedSet, root: Path, progress: Progress, *, full: bool, store: bool
) -> Results:
    """Check the folder of a data set.

    Args:
        full: decode every frame, and hash every file if `store` is set.
        store: whether measurements are stored afterwards.

    Raises:
        DataError: a file that the later checks need cannot be read.
    """
    layout = checked.dataset.layout
    try:
        listings = [find_listing(layout, root, split) for split in ("train", "test")]
        used_axes = read_manifest(listings[0].root).normal_axes or NYUD_AXES
    except DataError as error:
        yield Finding.error("layout", str(error), root)
        return
    folder = listings[0].root
    yield Finding.ok("layout", f"{checked.form(listings[0])}, lists in {layout.lists}", folder)
    listed = [*_check_lists(listings), *_check_files(checked, listings, progress)]
    yield from listed
    if has_error(listed):
        return
    sets = [checked.frameset(listing) for listing in listings]
    contents = check_contents(sets, checked.values(), _HINT, progress, full=full)
    contents += check_agreement(sets, checked.contours, progress)
    yield from contents
    if all("normals" in frames.parts for frames in sets):
        verdict = checked.measure_axes(sets, progress)
        trusted = not doubted(contents, "depth", "normals")
        yield from check_axes(
            verdict, used_axes, sets[0].example("normals"), stored=store, trusted=trusted
        )
        entry = axes_entry(verdict, trusted=trusted)
        yield Measured(folder, entry)
        yield from checked.check_labels(sets, entry.get("normal_axes", used_axes), progress)
    yield from _check_classes(checked, listings, progress, full=full)
    if has_error(contents):
        return
    files = [each for listing in listings for each in _split_files(checked, listing)]
    if full and store:
        yield from check_digests(folder, files, progress)
    found = fingerprints(folder, files, checked.title, progress)
    yield from check_fingerprints(found, folder)
    yield Measured(folder, checked_entry(found))


def _check_classes(
    checked: CheckedSet, listings: Sequence[Listing], progress: Progress, *, full: bool
) -> Iterator[Finding]:
    for listing in listings:
        labels = {ids: part for ids, part in checked.labels.items() if not listing.lacking(part)}
        if labels:
            maps = LabelMaps(
                split=_SPLIT_OF[listing.list_name],
                frames=listing,
                parts=labels,
                decode=checked.dataset.decode,
            )
            yield from check_classes(maps, progress, full=full)


def _split_files(checked: CheckedSet, listing: Listing) -> Iterator[SplitFiles]:
    """Yield the files per distinct group of parts that the label spaces read."""
    for parts in dict.fromkeys(checked.parts(listing, space) for space in checked.spaces()):
        if parts and not any(listing.lacking(part) for part in parts):
            yield SplitFiles(_SPLIT_OF[listing.list_name], listing, parts)


def _check_lists(listings: Sequence[Listing]) -> Iterator[Finding]:
    """Compare the lengths of the lists with the published ones, and the lists with each other."""
    for listing in listings:
        lists, expected = listing.layout.lists, listing.layout.published[listing.list_name]
        message = f"{lists}/{listing.list_name}.txt: {len(listing)} images"
        difference = abs(len(listing) - expected)
        if difference:
            message += f", the published list has {expected}; take the list from the archive again"
        path = listing.root / lists / f"{listing.list_name}.txt"
        yield Finding.ok_if(not difference, "splits", message, path, count=difference)
    root = listings[0].root / listings[0].layout.lists
    for shared in overlaps({listing.list_name: listing.ids for listing in listings}):
        message = (
            f"{len(shared.images)} images are in both lists, such as {shared.images[0]}; training "
            "and target must not share any: take the lists from the archive again"
        )
        yield Finding.error("splits", message, root, len(shared.images))


def _check_files(
    checked: CheckedSet, listings: Sequence[Listing], progress: Progress
) -> Iterator[Finding]:
    """Yield the errors and notices that the data set itself gives when it is opened."""
    results = [_check_list_files(checked, listing, progress) for listing in listings]
    for result in results:
        yield from result.findings
    for notice in dict.fromkeys(notice for result in results for notice in result.notices):
        yield Finding.warning("frames", notice, listings[0].root)


def _check_list_files(checked: CheckedSet, listing: Listing, progress: Progress) -> _Files:
    dataset = checked.dataset
    space = find_label_space(dataset.labels)
    try:
        found = dataset.tasks_of(listing, space)
        parts = dataset.parts_of(found.tasks, listing, space)
    except DataError as error:
        return _Files([Finding.error("frames", str(error), listing.root)], ())
    incomplete = [finding for part in parts for finding in _incomplete(listing, part)]
    if incomplete:
        return _Files(incomplete, found.notices)
    message = f"{listing.list_name}: {len(listing)} images with {', '.join(parts)}"
    findings = [Finding.ok("frames", message)]
    try:
        about = list(dataset.about(listing, parts, image_sizes(listing, progress)))
    except DataError as error:
        findings.append(Finding.error("frames", str(error), listing.root))
        return _Files(findings, found.notices)
    return _Files(findings, [*found.notices, *about])


def _incomplete(listing: Listing, part: str) -> Iterator[Finding]:
    try:
        listing.require(part)
    except DataError as error:
        yield Finding.error("frames", str(error), listing.root, len(listing.lacking(part)))
