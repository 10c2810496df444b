"""The statistics that images are normalised with."""

from __future__ import annotations

import timm

from ttt_bench.config.preset import ModelConfig

NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unscaled": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Name -> (mean, standard deviation) that images in [0, 1] are normalised with.

"imagenet" has the statistics of ImageNet; "unscaled" maps images to [-1, 1].
"""


def normalisation_notice(config: ModelConfig) -> str | None:
    """Return a sentence if timm's weights were trained on images of another normalisation."""
    used = config.pretrained and not config.weights
    card = timm.get_pretrained_cfg(config.backbone, allow_unregistered=True) if used else None
    if card is None or (tuple(card.mean), tuple(card.std)) == NORMALISATIONS["imagenet"]:
        return None
    return (
        f"the weights of {config.backbone} were trained on images normalised with mean "
        f"{card.mean} and standard deviation {card.std}, but here images have ImageNet's"
    )
