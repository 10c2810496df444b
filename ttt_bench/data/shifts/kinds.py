"""Shifts of a target's images by name: `nyud+gaussian_noise@0.1`, `rooms+jpeg@30`, `pascal+fog@s3`.
Imports no torch.

A shift is a name and, after an @, its strength: the parameter itself, or a severity, `s1` to `s5`.
Several are joined by + and applied from left to right. Shifts change images alone; `corruptions`
holds what each one does.

Severities are those of ImageNet-C: D. Hendrycks and T. Dietterich, Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations, ICLR 2019; the constants are those of the code
released with it. It corrupts pictures of 224x224, so a constant given in pixels here means pixels
of a picture whose shorter side is 224, and scales with the
picture: a severity hides as much of a room at any size. What is per pixel (noise), per share of the
resolution (pixelate) or per block of the encoder (JPEG) does not scale.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ttt_bench.errors import BenchError, unknown

Constants = tuple[float, ...]


@dataclass(frozen=True)
class ShiftKind:
    """A named shift with what may follow its @.

    Attributes:
        summary: what it does to an image, in a few words.
        meaning: what its parameter is, or what its constants decide.
        severities: the constants of s1 to s5.
        limits: what the parameter may be, both included; None where there are several constants, so
            that only severities can be asked for.
        whole: the parameter is a whole number.
    """

    name: str
    summary: str
    meaning: str
    severities: tuple[Constants, ...]
    limits: tuple[float, float] | None = None
    whole: bool = False

    @property
    def listed(self) -> str:
        """The severities in words, with their parameters where one each."""
        several = self.limits is None
        parameters = (
            f"s{n}" + ("" if several else f": {c[0]:g}")
            for n, c in enumerate(self.severities, start=1)
        )
        return ", ".join(parameters)

    @property
    def usage(self) -> str:
        """What may follow the @, with an example of each form."""
        severity = f"a severity, such as {self.name}@s3 ({self.listed})"
        if self.limits is None:
            return f"{severity}, which decides {self.meaning}"
        return f"{self.meaning}, {self.range} (such as {self.name}@{self.severities[1][0]:g}), or {severity}"

    @property
    def range(self) -> str:
        """The allowed parameters in words."""
        assert self.limits is not None
        return f"a {'whole number' if self.whole else 'number'} from {self.limits[0]:g} to {self.limits[1]:g}"


def _single(*values: float) -> tuple[Constants, ...]:
    return tuple((value,) for value in values)


KINDS: dict[str, ShiftKind] = {
    kind.name: kind
    for kind in (
        ShiftKind(
            "gaussian_noise",
            "Gaussian noise relative to each image's own contrast",
            "its standard deviation as a multiple of the image's own",
            # Table 2 of S4T's supplement: 0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4
            _single(0.05, 0.1, 0.2, 0.3, 0.4),
            (0.0, 1.0),
        ),
        ShiftKind(
            "absolute_noise",
            "Gaussian noise of the same strength in every image",
            "its standard deviation where white is 1",
            _single(0.08, 0.12, 0.18, 0.26, 0.38),
            (0.0, 1.0),
        ),
        ShiftKind(
            "shot_noise",
            "the Poisson noise of little light",
            "photons that white is made of, the fewer the noisier",
            _single(60, 25, 12, 5, 3),
            (1.0, 10_000.0),
        ),
        ShiftKind(
            "impulse_noise",
            "values replaced by black or white",
            "the share of values that are replaced",
            _single(0.03, 0.06, 0.09, 0.17, 0.27),
            (0.0, 1.0),
        ),
        ShiftKind(
            "speckle_noise",
            "Gaussian noise that grows with brightness",
            "its standard deviation as a share of each value",
            _single(0.15, 0.2, 0.35, 0.45, 0.6),
            (0.0, 1.0),
        ),
        ShiftKind(
            "gaussian_blur",
            "a Gaussian blur",
            "its standard deviation in pixels of a picture whose shorter side is 224",
            _single(1, 2, 3, 4, 6),
            (0.1, 50.0),
        ),
        ShiftKind(
            "defocus_blur",
            "a lens out of focus",
            "the radius of its disc in pixels of a picture whose shorter side is 224",
            _single(3, 4, 6, 8, 10),
            (0.1, 50.0),
        ),
        ShiftKind(
            "motion_blur",
            "a camera that moved, in a direction of each image's own",
            "how long the trail is and how fast it fades",
            # half its length and the standard deviation of its fading
            ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        ),
        ShiftKind(
            "zoom_blur",
            "a camera that moved forward",
            "how far it moved",
            # the largest magnification and the steps to it; the code's numpy.arange(1, 1.11, 0.01)
            # ends at 1.11 and its numpy.arange(1, 1.26, 0.02) at 1.24
            ((1.11, 0.01), (1.15, 0.01), (1.2, 0.02), (1.24, 0.02), (1.3, 0.03)),
        ),
        ShiftKind(
            "fog",
            "drifts of fog",
            "how thick and how rough it is",
            # thickness, and how fast finer detail fades
            ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        ),
        ShiftKind(
            "snow",
            "falling snow",
            "how many, how large and how fast the flakes are, and how white the rest",
            # mean and spread of the flakes' brightness, their size, the brightness below which
            # there is none, half their trail's length, the standard deviation of its fading, and
            # the share of the image that is kept
            (
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ),
        ),
        ShiftKind(
            "brightness",
            "a brighter image",
            "what is added to the brightest of a pixel's channels, its hue and saturation kept",
            _single(0.1, 0.2, 0.3, 0.4, 0.5),
            (-1.0, 1.0),
        ),
        ShiftKind(
            "contrast",
            "less contrast",
            "the share of the contrast that is kept",
            _single(0.4, 0.3, 0.2, 0.1, 0.05),
            (0.0, 1.0),
        ),
        ShiftKind(
            "saturate",
            "paler (s1, s2) or more saturated colours (s3 to s5)",
            "the saturation",
            # a factor on it and what is added to it
            ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        ),
        ShiftKind(
            "pixelate",
            "a lower resolution, shown in squares",
            "the share of the resolution that is kept",
            _single(0.6, 0.5, 0.4, 0.3, 0.25),
            (0.01, 1.0),
        ),
        ShiftKind(
            "jpeg",
            "JPEG compression",
            "the encoder's quality, the lower the worse",
            _single(25, 18, 15, 10, 7),
            (1.0, 100.0),
            whole=True,
        ),
    )
}
"""Every shift by name."""

LEFT_OUT = {
    "elastic": "it moves what the labels describe",
    "elastic_transform": "it moves what the labels describe",
    "glass_blur": "it moves what the labels describe",
    "frost": "it is made of photographs, which are not shipped",
}
"""ImageNet-C's corruptions that are not offered, and why."""


@dataclass(frozen=True)
class Shift:
    """A shift at one strength.

    Attributes:
        name: a name in `KINDS`.
        constants: its strength.
        text: what it is called, such as `jpeg@30` or `fog@s3`.
    """

    name: str
    constants: Constants
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def words(self) -> str:
        """What it does, for a notice."""
        kind = KINDS[self.name]
        parameter = "" if kind.limits is None else f"; {self.constants[0]:g} is {kind.meaning}"
        return f"{self.text} ({kind.summary}{parameter})"


def parse_shift(text: str) -> Shift:
    """The shift `NAME@PARAMETER` or `NAME@sN`.

    Raises:
        BenchError: an unknown name, no strength, or one that the shift does not take.
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
            f"shift {text}: {strength!r} is no number; {kind.name} takes {kind.usage}"
        ) from error
    low, high = kind.limits
    if math.isnan(value) or not low <= value <= high or (kind.whole and value != int(value)):
        raise BenchError(f"shift {text}: takes {kind.range}, {kind.meaning}; got {strength}")
    return value + 0.0  # -0 and 0 are the same strength


def parse_shifts(text: str) -> tuple[Shift, ...]:
    """Shifts joined by +, in the order in which they are applied.

    Raises:
        BenchError: everything that is wrong with them, one line each.
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
    """`DOMAIN` or `DOMAIN+SHIFT+...` as the domain's name, which is not looked up, and the shifts.

    Raises:
        BenchError: no domain's name, or shifts of which one is wrong.
    """
    domain, plus, rest = (part.strip() for part in text.partition("+"))
    if not domain or (plus and not rest) or "@" in domain:
        raise BenchError(
            f"a shifted domain is written DOMAIN+SHIFT@STRENGTH (such as rooms+jpeg@30), got {text!r}"
        )
    return domain, parse_shifts(rest) if plus else ()
