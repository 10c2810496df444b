"""Names and strengths of shifts: `nyud+gaussian_noise@0.1`, `rooms+jpeg@30`, `pascal+fog@s3`.

A shift is written as a name, an @, and its strength: a parameter, or a severity from `s1` to `s5`.
Several shifts are joined by + and applied from left to right. Shifts change only images;
`corruptions` implements them. This module imports no torch.

Severities are those of ImageNet-C: D. Hendrycks and T. Dietterich, Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations, ICLR 2019; the constants are those of its code.
ImageNet-C corrupts images of 224x224. So constants in pixels are pixels of an image whose shorter
side is 224, and they scale with the image: a severity hides the same part of a scene at any size.
Constants per pixel (noise), per share of the resolution (pixelate) or per block of the encoder
(JPEG) do not scale.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ttt_bench.errors import BenchError, unknown

Constants = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ShiftKind:
    """A named shift and its allowed strengths.

    Attributes:
        summary: its effect on an image, in a few words.
        meaning: the meaning of its parameter, or the effect of its constants.
        severities: the constants of s1 to s5.
        limits: lowest and highest parameter; None for a shift with several constants, which has
            only severities.
        whole: whether the parameter must be a whole number.
    """

    name: str
    summary: str
    meaning: str
    severities: tuple[Constants, ...]
    limits: tuple[float, float] | None = None
    whole: bool = False

    @property
    def listed(self) -> str:
        """The severities in words, with the parameter of each if there is one parameter."""
        several = self.limits is None
        parameters = (
            f"s{n}" + ("" if several else f": {c[0]:g}")
            for n, c in enumerate(self.severities, start=1)
        )
        return ", ".join(parameters)

    @property
    def usage(self) -> str:
        """The allowed strengths, with an example of each form."""
        severity = f"a severity, such as {self.name}@s3 ({self.listed})"
        if self.limits is None:
            return f"{severity}, which decides {self.meaning}"
        example = f"{self.name}@{self.severities[1][0]:g}"
        return f"{self.meaning}, {self.range} (such as {example}), or {severity}"

    @property
    def range(self) -> str:
        """The allowed parameters in words."""
        assert self.limits is not None
        kind = "whole number" if self.whole else "number"
        return f"a {kind} from {self.limits[0]:g} to {self.limits[1]:g}"


def _single(*values: float) -> tuple[Constants, ...]:
    return tuple((value,) for value in values)


KINDS: dict[str, ShiftKind] = {
    kind.name: kind
    for kind in (
        ShiftKind(
            name="gaussian_noise",
            summary="Gaussian noise relative to each image's own contrast",
            meaning="its standard deviation as a multiple of the image's own",
            # Table 2 of S4T's supplement: 0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4
            severities=_single(0.05, 0.1, 0.2, 0.3, 0.4),
            limits=(0.0, 1.0),
        ),
        ShiftKind(
            name="absolute_noise",
            summary="Gaussian noise of the same strength in every image",
            meaning="its standard deviation where white is 1",
            severities=_single(0.08, 0.12, 0.18, 0.26, 0.38),
            limits=(0.0, 1.0),
        ),
        ShiftKind(
            name="shot_noise",
            summary="the Poisson noise of little light",
            meaning="photons per white pixel; fewer give more noise",
            severities=_single(60, 25, 12, 5, 3),
            limits=(1.0, 10_000.0),
        ),
        ShiftKind(
            name="impulse_noise",
            summary="values replaced by black or white",
            meaning="the share of values that are replaced",
            severities=_single(0.03, 0.06, 0.09, 0.17, 0.27),
            limits=(0.0, 1.0),
        ),
        ShiftKind(
            name="speckle_noise",
            summary="Gaussian noise that grows with brightness",
            meaning="its standard deviation as a share of each value",
            severities=_single(0.15, 0.2, 0.35, 0.45, 0.6),
            limits=(0.0, 1.0),
        ),
        ShiftKind(
            name="gaussian_blur",
            summary="a Gaussian blur",
            meaning="its standard deviation in pixels of a picture whose shorter side is 224",
            severities=_single(1, 2, 3, 4, 6),
            limits=(0.1, 50.0),
        ),
        ShiftKind(
            name="defocus_blur",
            summary="a lens out of focus",
            meaning="the radius of its disc in pixels of a picture whose shorter side is 224",
            severities=_single(3, 4, 6, 8, 10),
            limits=(0.1, 50.0),
        ),
        ShiftKind(
            name="motion_blur",
            summary="a camera that moved, in a random direction per image",
            meaning="how long the trail is and how fast it fades",
            # half its length and the standard deviation of its fading
            severities=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        ),
        ShiftKind(
            name="zoom_blur",
            summary="a camera that moved forward",
            meaning="how far it moved",
            # the largest magnification and the steps to it; the code's numpy.arange(1, 1.11, 0.01)
            # ends at 1.11 and its numpy.arange(1, 1.26, 0.02) at 1.24
            severities=((1.11, 0.01), (1.15, 0.01), (1.2, 0.02), (1.24, 0.02), (1.3, 0.03)),
        ),
        ShiftKind(
            name="fog",
            summary="drifts of fog",
            meaning="how thick and how rough it is",
            # thickness, and how fast finer detail fades
            severities=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        ),
        ShiftKind(
            name="snow",
            summary="falling snow",
            meaning="how many, how large and how fast the flakes are, and how white the rest",
            # mean and spread of the flakes' brightness, their size, the brightness below which
            # flakes are removed, half their trail's length, the standard deviation of its fading,
            # and the share of the image that is kept
            severities=(
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ),
        ),
        ShiftKind(
            name="brightness",
            summary="a brighter image",
            meaning="the amount added to a pixel's brightest channel; hue and saturation are kept",
            severities=_single(0.1, 0.2, 0.3, 0.4, 0.5),
            limits=(-1.0, 1.0),
        ),
        ShiftKind(
            name="contrast",
            summary="less contrast",
            meaning="the share of the contrast that is kept",
            severities=_single(0.4, 0.3, 0.2, 0.1, 0.05),
            limits=(0.0, 1.0),
        ),
        ShiftKind(
            name="saturate",
            summary="paler (s1, s2) or more saturated colours (s3 to s5)",
            meaning="the saturation",
            # (factor, summand)
            severities=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        ),
        ShiftKind(
            name="pixelate",
            summary="a lower resolution, shown in squares",
            meaning="the share of the resolution that is kept",
            severities=_single(0.6, 0.5, 0.4, 0.3, 0.25),
            limits=(0.01, 1.0),
        ),
        ShiftKind(
            name="jpeg",
            summary="JPEG compression",
            meaning="the encoder's quality; lower is worse",
            severities=_single(25, 18, 15, 10, 7),
            limits=(1.0, 100.0),
            whole=True,
        ),
    )
}
"""Every kind of shift by name."""

LEFT_OUT = {
    "elastic": "it moves objects away from their labels",
    "elastic_transform": "it moves objects away from their labels",
    "glass_blur": "it moves objects away from their labels",
    "frost": "it is made of photographs, which are not shipped",
}
"""ImageNet-C's corruptions that are not offered, with the reason."""


@dataclass(frozen=True)
class Shift:
    """A shift at one strength.

    Attributes:
        name: a name in `KINDS`.
        constants: its strength.
        text: its written form, such as `jpeg@30` or `fog@s3`.
    """

    name: str
    constants: Constants
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def words(self) -> str:
        """Its effect, for a notice."""
        kind = KINDS[self.name]
        parameter = "" if kind.limits is None else f"; {self.constants[0]:g} is {kind.meaning}"
        return f"{self.text} ({kind.summary}{parameter})"


def parse_shift(text: str) -> Shift:
    """Return the shift `NAME@PARAMETER` or `NAME@sN`.

    Raises:
        BenchError: the name is unknown, or the strength is missing or not allowed.
    """
    name, _, strength = (part.strip() for part in text.partition("@"))
    if name in LEFT_OUT:
        raise BenchError(
            f"shift {name} is not offered: {LEFT_OUT[name]} (available: {', '.join(sorted(KINDS))})"
        )
    if name not in KINDS:
        raise unknown("shift", name, KINDS)
    kind = KINDS[name]
    if not strength:
        raise BenchError(f"shift {name} needs its strength: {kind.usage}")
    severity = re.fullmatch(r"s(\d+)", strength)
    if severity:
        level = int(severity[1])
        if not 1 <= level <= len(kind.severities):
            raise BenchError(f"shift {text}: no severity s{level}; {name} has {kind.listed}")
        return Shift(name, tuple(map(float, kind.severities[level - 1])), f"{name}@s{level}")
    if kind.limits is None:
        raise BenchError(f"shift {text}: {name} takes {kind.usage}")
    value = _parameter(kind, strength, text)
    return Shift(name, (value,), f"{name}@{repr(value).removesuffix('.0')}")


def _parameter(kind: ShiftKind, strength: str, text: str) -> float:
    assert kind.limits is not None
    try:
        value = float(strength)
    except ValueError as error:
        raise BenchError(
            f"shift {text}: {strength!r} is not a number; {kind.name} takes {kind.usage}"
        ) from error
    low, high = kind.limits
    if math.isnan(value) or not low <= value <= high or (kind.whole and value != int(value)):
        raise BenchError(f"shift {text}: takes {kind.range}, {kind.meaning}; got {strength}")
    return value + 0.0  # -0 becomes 0, the same strength


def parse_shifts(text: str) -> tuple[Shift, ...]:
    """Return shifts that are joined by +, in the order in which they are applied.

    Raises:
        BenchError: some are invalid; one line for each.
    """
    shifts, problems = [], []
    for part in text.split("+"):
        try:
            shifts.append(parse_shift(part))
        except BenchError as error:
            problems.append(str(error))
    if problems:
        raise BenchError("\n".join(problems))
    return tuple(shifts)


def parse_target(text: str) -> tuple[str, tuple[Shift, ...]]:
    """Return the domain's name and the shifts of `DOMAIN` or `DOMAIN+SHIFT+...`.

    The domain's name is not checked.

    Raises:
        BenchError: the domain's name is missing, or a shift is invalid.
    """
    domain, plus, rest = (part.strip() for part in text.partition("+"))
    if not domain or (plus and not rest) or "@" in domain:
        raise BenchError(
            "a shifted domain is written DOMAIN+SHIFT@STRENGTH (such as rooms+jpeg@30), "
            f"got {text!r}"
        )
    return domain, parse_shifts(rest) if plus else ()
