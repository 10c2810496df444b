"""Settings that a method declares: its options, and complete sets of hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Optimiser(BaseModel):
    """Settings of an adapting optimiser.

    Attributes:
        rates: name or pattern (`fnmatch`) of parameters -> factor of their learning rate; the
            first that matches a parameter counts.
        lr_per_sample: whether `lr` is multiplied by the number of images of the current batch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = Field(2e-5, ge=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(0.0, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    lr_per_sample: bool = False
    rates: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """A complete set of hyperparameters of a method.

    Attributes:
        citation: where the values come from.
        optimiser: settings of the optimiser.
        steps: adaptation steps per batch.
        options: values of the method's options that differ from their defaults.
    """

    citation: str
    optimiser: Optimiser = field(default_factory=lambda: Optimiser())
    steps: int = 40
    options: Mapping[str, Any] = field(default_factory=dict)


PAPER = Hparams(
    citation="S4T, section 4.1: one protocol for every method",
    optimiser=Optimiser(lr=2e-5, weight_decay=1e-6),
    steps=40,
)
"""`--hparams paper`: SGD, learning rate 2e-5, no momentum, weight decay 1e-6, 40 steps."""


def option(
    default: Any, description: str, *, citation: str, shapes_source: bool = False, **bounds: Any
) -> Any:
    """Declare an option of a method.

    Args:
        default: the default value.
        description: the meaning, with units.
        citation: where the default comes from: paper and equation, the authors' code, or a
            decision of this project.
        shapes_source: whether the option changes the source model or its statistics, so that
            another value needs another checkpoint.
        bounds: pydantic's bounds (`ge`, `gt`, `le`, `lt`).
    """
    extra: dict[str, Any] = {"citation": citation, "shapes_source": shapes_source}
    return Field(default, description=description, json_schema_extra=extra, **bounds)


class Options(BaseModel):
    """Options of a method. They are frozen, and an undeclared name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    norm_momentum: float = option(
        0.1,
        "momentum of BatchNorm's running statistics during adaptation",
        citation="PyTorch's default",
        gt=0,
        le=1,
    )

    @classmethod
    def source_fields(cls) -> tuple[str, ...]:
        """Return the names of the options that shape the source model."""
        about = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return tuple(
            name
            for name, extra in about.items()
            if isinstance(extra, dict) and extra.get("shapes_source")
        )


class EmaOptions(Options):
    """Options of a method that adapts under `Norm.EMA`."""

    predict_norm: Literal["running", "batch"] = option(
        "running",
        "normalisation during prediction",
        citation="the authors' code predicts in eval mode",
    )
