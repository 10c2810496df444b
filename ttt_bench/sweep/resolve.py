"""Resolve a request: parse and check everything that it names, once and without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ttt_bench.config.preset import SECTIONS, Preset, default_preset, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.config.tuned import TunedFile, read_tuned
from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace, label_space_from
from ttt_bench.data.open import folder_of
from ttt_bench.data.pair import Pair, find_pair
from ttt_bench.data.shifts.streams import Stream, parse_stream
from ttt_bench.data.variants import DataVariant, find_variant
from ttt_bench.errors import BenchError, unknown
from ttt_bench.protocols import PROTOCOLS, protocol_of
from ttt_bench.registry import GROUPS, METHODS, expanded
from ttt_bench.sweep.launchers.registry import find_launcher
from ttt_bench.util.hashing import hash_file
from ttt_bench.util.os_errors import explained_reading, file_bytes
from ttt_bench.util.problems import attempt, raise_problems
from ttt_bench.util.store import mirror


@dataclass(frozen=True, kw_only=True)
class ResolvedPair:
    """A pair with the choices that apply to it.

    Attributes:
        pair: the source and the target domain.
        labels: the classes of semantic segmentation; None if the domains share none.
        preset_name: name of the preset.
        preset: the preset with the request's settings.
    """

    pair: Pair
    labels: LabelSpace | None
    preset_name: str
    preset: Preset

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the pair, of which a data root may have files for fewer."""
        return self.pair.tasks(self.preset.data.tasks)


@dataclass(frozen=True, kw_only=True)
class ResolvedRequest:
    """A request in which every name is known and every choice is made.

    Attributes:
        request: the request itself.
        pairs: its pairs, each once.
        stream: the order of the target images.
        variant: the data handling.
        methods: names of the methods.
        named: the methods that the user named. Others, members of a group that do not apply, are
            skipped.
        weights: hash of the file of --source-weights; None if source models are trained here.
        tuned: the file of --tuned; None if it is not used.
    """

    request: Request
    pairs: tuple[ResolvedPair, ...]
    stream: Stream
    variant: DataVariant
    methods: tuple[str, ...]
    named: frozenset[str]
    weights: str | None
    tuned: TunedFile | None = None

    @property
    def checkpoints(self) -> Path:
        """The folder of source models, which is in the results folder."""
        return self.request.results / "checkpoints"


def resolve(request: Request) -> ResolvedRequest:
    """Return the resolved request.

    Raises:
        BenchError: names are unknown, data folders are missing, or choices do not fit together;
            one line per problem.
    """
    spaces, space_problems = _label_spaces(request)
    found, pair_problems = _pairs(request)
    stream, stream_problems = attempt(parse_stream, request.stream)
    pairs, choice_problems = _resolved_pairs(found, request, spaces)
    weights, weight_problems = attempt(_weights_hash, request)
    tuned, tuned_problems = attempt(_tuned_file, request)
    raise_problems(
        [
            *_method_problems(request),
            *pair_problems,
            *stream_problems,
            *(_order_problems(stream, request) if stream else []),
            *space_problems,
            *choice_problems,
            *_folder_problems(found, request),
            *_split_problems(pairs),
            *_task_problems(pairs),
            *_setting_problems(request),
            *attempt(find_launcher, request)[1],
            *_shard_problems(request),
            *weight_problems,
            *tuned_problems,
        ]
    )
    assert stream is not None
    mirror.synchronise(request.results)
    return ResolvedRequest(
        request=request,
        pairs=tuple(pairs),
        stream=stream,
        variant=find_variant(request.data_variant),
        methods=expanded(request.methods),
        named=frozenset(request.methods) - GROUPS.keys(),
        weights=weights,
        tuned=tuned,
    )


def _weights_hash(request: Request) -> str | None:
    path = request.source_weights
    if path is None:
        return None
    file_bytes(path, "--source-weights")
    with explained_reading(path, "--source-weights"):
        return hash_file(path)


def _tuned_file(request: Request) -> TunedFile | None:
    wanted = request.hparams == "tuned"
    if wanted and request.tuned is None:
        raise BenchError(
            "--hparams tuned needs the file that `ttt-bench tune` writes; give it with --tuned FILE"
        )
    if not wanted and request.tuned is not None:
        raise BenchError(f"--tuned {request.tuned} is only used with --hparams tuned; add that")
    return read_tuned(request.tuned) if request.tuned is not None else None


def _split_problems(pairs: list[ResolvedPair]) -> list[str]:
    """Return the pairs whose target has no held-out source images, if these are asked for."""
    return [
        f"{one.pair.name}: data.target_split=val means held-out images of the source, so the "
        f"target must be {one.pair.source.name} (with shifts); use target_split=test or tune"
        for one in pairs
        if one.preset.data.target_split == "val" and one.pair.source.name != one.pair.target.name
    ]


def _task_problems(pairs: list[ResolvedPair]) -> list[str]:
    """Return the pairs that lack a task that is asked for."""
    return [
        problem for one in pairs for problem in attempt(one.pair.tasks, one.preset.data.tasks)[1]
    ]


def _method_problems(request: Request) -> list[str]:
    known = [*METHODS.names(), *GROUPS]
    return [str(unknown("method", name, known)) for name in request.methods if name not in known]


def _pairs(request: Request) -> tuple[list[Pair], list[str]]:
    """Return the distinct pairs; the same pair may be written in several ways."""
    found: dict[str, Pair] = {}
    problems: list[str] = []
    for name in request.pair:
        pair, new = attempt(find_pair, name, request.data_root)
        problems += new
        if pair is not None:
            found[pair.name] = pair
    return list(found.values()), problems


def _order_problems(stream: Stream, request: Request) -> list[str]:
    fixed = [name for name in request.protocol if not protocol_of(name).any_order]
    if stream.in_file_order or not fixed:
        return []
    return [
        f"--stream {stream} does not go with --protocol {', '.join(fixed)}, which takes the "
        "images in file order; use --protocol online"
    ]


def _shard_problems(request: Request) -> list[str]:
    if request.shards == 1 or any(protocol_of(p).independent_batches for p in request.protocol):
        return []
    names = ", ".join(name for name, one in PROTOCOLS.items() if one.independent_batches)
    return [f"--shards splits cells of the protocol {names}; give --protocol {names} with it"]


def _label_spaces(request: Request) -> tuple[dict[str, LabelSpace], list[str]]:
    """Return the request's custom label spaces by name."""
    spaces: dict[str, LabelSpace] = {}
    problems: list[str] = []
    for name, table in request.label_spaces.items():
        space, new = attempt(label_space_from, name, table)
        problems += new
        if space is not None:
            spaces[name] = space
    wanted, known = request.label_space, [*LABEL_SPACES, *request.label_spaces]
    if wanted is not None and wanted not in known:
        problems.append(str(unknown("label space", wanted, known)))
    return spaces, problems


def _resolved_pairs(
    pairs: list[Pair], request: Request, spaces: Mapping[str, LabelSpace]
) -> tuple[list[ResolvedPair], list[str]]:
    presets, problems = _presets(pairs, request)
    wanted = request.label_space
    resolved: list[ResolvedPair] = []
    for pair in pairs if wanted is None or wanted in {*LABEL_SPACES, *spaces} else []:
        labels, new = attempt(pair.label_space, wanted, spaces)
        problems += new
        name = _preset_name(pair, request)
        if name in presets:
            resolved.append(
                ResolvedPair(pair=pair, labels=labels, preset_name=name, preset=presets[name])
            )
    return resolved, problems


def _presets(pairs: list[Pair], request: Request) -> tuple[dict[str, Preset], list[str]]:
    presets: dict[str, Preset] = {}
    problems: list[str] = []
    for name in dict.fromkeys(_preset_name(pair, request) for pair in pairs):
        preset, new = attempt(resolve_preset, name, request.set)
        problems += new
        if preset is not None:
            presets[name] = preset
    return presets, problems


def _preset_name(pair: Pair, request: Request) -> str:
    return request.preset or default_preset(embedded=pair.embedded)


def _folder_problems(pairs: list[Pair], request: Request) -> list[str]:
    problems: list[str] = []
    for domain in [domain for pair in pairs for domain in (pair.source, pair.target)]:
        if not domain.embedded:
            problems += attempt(folder_of, domain, request.data_root)[1]
    return problems


def _setting_problems(request: Request) -> list[str]:
    known = [*SECTIONS, *METHODS.names(), "batch"]
    owners = [key.partition(".")[0] for key in request.set]
    return [str(unknown("setting", owner, known)) for owner in owners if owner not in known]
