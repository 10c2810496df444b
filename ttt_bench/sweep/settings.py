"""Settings of an opened pair that follow from its domains and the data variant."""

from __future__ import annotations

from ttt_bench.adapter import Adapter, Target
from ttt_bench.config.request import KERNELS
from ttt_bench.data.domains import Domain
from ttt_bench.data.variants import DataVariant
from ttt_bench.losses import RECIPES, Recipe
from ttt_bench.metrics.base import Scoring
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.tasks import output_channels
from ttt_bench.train.chain import SourceSpec


def recipe_of(domain: Domain, variant: DataVariant) -> Recipe:
    """Return the loss recipe of a domain."""
    recipe = RECIPES[domain.recipe]
    if variant.normal_loss_axis == "width" and recipe.across_width is not None:
        return RECIPES[recipe.across_width]
    return recipe


def normalisation_of(domain: Domain, variant: DataVariant) -> str:
    """Return the statistics that images of a domain are normalised with.

    It is a name of `ttt_bench.model.NORMALISATIONS`.
    """
    apart = variant.normalisation == "per_dataset" and domain.unscaled
    return "unscaled" if apart else "imagenet"


def scoring_of(domain: Domain) -> Scoring:
    """Return how raw outputs are scored on a domain."""
    return Scoring(
        edge_sigmoid=domain.edge_sigmoid,
        depth_nonnegative=domain.depth_nonnegative,
        to_metres=domain.to_metres,
    )


def scoring_words(opened: OpenedPair) -> dict[str, str]:
    """Describe the scoring on the target."""
    target, stream = opened.pair.target, opened.target_data.stream
    return scoring_of(target).words(
        opened.tasks,
        batch=opened.preset.batch,
        units={"depth": target.depth_unit, "edge": target.edge_unit},
        order="file order" if stream.in_file_order else f"the order of the stream {stream}",
    )


def channels_of(opened: OpenedPair, adapter: Adapter | None = None) -> dict[str, int]:
    """Return task -> output channels of the shared network, or of a method's with fewer tasks."""
    tasks = adapter.own_tasks(opened.tasks) if adapter else opened.tasks
    return output_channels(tasks, len(opened.classes))


def target_of(opened: OpenedPair) -> Target:
    """Return what methods may know of the target before adapting."""
    return Target(batch=max(map(len, opened.batches)), size=opened.target_data.size)


def source_spec(
    opened: OpenedPair,
    seed: int,
    adapter: Adapter | None = None,
    *,
    kernels: str = KERNELS[0],
) -> SourceSpec:
    """Return the settings of source training for a seed, with the tasks of a method."""
    source = opened.pair.source
    return SourceSpec(
        domain=source.name,
        model=opened.preset.model,
        tasks=channels_of(opened, adapter),
        recipe=recipe_of(source, opened.variant).name,
        training=opened.preset.training,
        fingerprint=opened.source_data.fingerprint,
        data_code=opened.source_code,
        seed=seed,
        normalisation=normalisation_of(source, opened.variant),
        kernels=kernels,
    )
