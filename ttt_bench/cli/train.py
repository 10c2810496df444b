"""`train`: the command that trains source models only."""

from __future__ import annotations

from ttt_bench.cli.options import Json, request_options
from ttt_bench.cli.output import Display, say, show
from ttt_bench.config.request import Request
from ttt_bench.sweep.resolve import resolve

COLUMNS = ("source", "model", "seed", "task", "metric", "score", "prior", "ratio", "checkpoint")


@request_options(
    "methods",
    "pair",
    "seeds",
    "preset",
    "hparams",
    "tuned",
    "data_variant",
    "label_space",
    "set",
    "device",
    "train_devices",
    "deterministic",
    "results",
    "data_root",
)
def train(request: Request, *, as_json: Json = False) -> None:
    """Train the source models without adapting, and score them on held-out source images.

    Next to each score is the prior: the score of the per-pixel mean of the training labels.

    `ttt-bench run` uses the checkpoints.
    """
    resolved = resolve(request)  # a misspelt name is refused before PyTorch is imported
    from ttt_bench.sweep.plan import plan_sweep
    from ttt_bench.sweep.source_models import train_sources

    display = Display()
    sweep = plan_sweep(resolved, display)
    show(
        train_sources(sweep, display),
        COLUMNS,
        title="scores on held-out source images (prior: the per-pixel mean of the training labels)",
        as_json=as_json,
    )
    say(f"checkpoints: {sweep.checkpoints}")
