"""Names of shifts, messages for invalid ones, and data sets under shifts."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch
from support.toy import ToyDataset

from ttt_bench.data.base import Dataset
from ttt_bench.data.shifts.kinds import KINDS, LEFT_OUT, parse_shift, parse_shifts, parse_target
from ttt_bench.data.shifts.views import ShiftedDataset, shift_image
from ttt_bench.errors import BenchError
from ttt_bench.network import Batch
from ttt_bench.util.progress import Progress, Silent


@pytest.mark.parametrize(
    ("text", "name", "constants", "canonical"),
    [
        ("gaussian_noise@0.1", "gaussian_noise", (0.1,), "gaussian_noise@0.1"),
        ("gaussian_noise@0", "gaussian_noise", (0.0,), "gaussian_noise@0"),
        ("gaussian_noise@-0.0", "gaussian_noise", (0.0,), "gaussian_noise@0"),
        (" gaussian_noise @ .10 ", "gaussian_noise", (0.1,), "gaussian_noise@0.1"),
        ("gaussian_noise@s2", "gaussian_noise", (0.1,), "gaussian_noise@s2"),
        ("jpeg@30", "jpeg", (30.0,), "jpeg@30"),
        ("jpeg@s5", "jpeg", (7.0,), "jpeg@s5"),
        ("fog@s3", "fog", (2.5, 1.7), "fog@s3"),
        ("brightness@-0.25", "brightness", (-0.25,), "brightness@-0.25"),
    ],
)
def test_a_shift_is_a_name_and_a_strength(
    text: str, name: str, constants: tuple[float, ...], canonical: str
) -> None:
    shift = parse_shift(text)
    assert (shift.name, shift.constants, str(shift)) == (name, constants, canonical)
    assert parse_shift(canonical) == shift


def test_every_severity_of_every_shift_can_be_asked_for() -> None:
    for name, kind in KINDS.items():
        assert kind.name == name
        assert len(kind.severities) == 5
        for level, constants in enumerate(kind.severities, start=1):
            assert parse_shift(f"{name}@s{level}").constants == constants
            if kind.limits:
                assert parse_shift(f"{name}@{constants[0]!r}").constants == constants


def test_published_noise_levels_are_allowed() -> None:
    for alpha in (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4):
        assert parse_shift(f"gaussian_noise@{alpha}").constants == (alpha,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gausian_noise@0.1", ["unknown shift 'gausian_noise'", "did you mean gaussian_noise"]),
        ("nonsense@1", ["unknown shift 'nonsense'", "available: absolute_noise, brightness"]),
        ("@0.1", ["unknown shift ''"]),
        ("", ["unknown shift ''"]),
        (
            "jpeg",
            [
                "jpeg needs its strength",
                "quality",
                "whole number from 1 to 100",
                "jpeg@18",
                "s1: 25",
                "s5: 7",
            ],
        ),
        ("jpeg@", ["jpeg needs its strength"]),
        (
            "fog",
            [
                "fog needs its strength",
                "a severity, such as fog@s3 (s1, s2, s3, s4, s5)",
                "how thick",
            ],
        ),
        ("fog@0.3", ["fog@0.3", "fog takes a severity, such as fog@s3"]),
        ("fog@s0", ["fog@s0: no severity s0", "fog has s1, s2, s3, s4, s5"]),
        ("jpeg@s6", ["jpeg@s6: no severity s6", "jpeg has s1: 25", "s5: 7"]),
        ("jpeg@S3", ["'S3' is not a number", "jpeg@s3"]),
        ("jpeg@thirty", ["'thirty' is not a number", "quality"]),
        ("jpeg@0", ["takes a whole number from 1 to 100", "got 0"]),
        ("jpeg@30.5", ["takes a whole number from 1 to 100", "got 30.5"]),
        (
            "gaussian_noise@1.5",
            ["takes a number from 0 to 1", "got 1.5", "multiple of the image's own"],
        ),
        ("gaussian_noise@nan", ["takes a number from 0 to 1", "got nan"]),
        ("jpeg@inf", ["takes a whole number from 1 to 100", "got inf"]),
        ("pixelate@0", ["takes a number from 0.01 to 1"]),
        ("elastic@s1", ["elastic is not offered", "moves objects away from their labels"]),
        ("frost@s1", ["frost is not offered", "photographs"]),
    ],
)
def test_a_wrong_shift_is_explained(text: str, expected: list[str]) -> None:
    with pytest.raises(BenchError) as caught:
        parse_shift(text)
    for words in expected:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_left_out_shifts_are_unknown() -> None:
    assert not LEFT_OUT.keys() & KINDS.keys()


def test_a_target_is_a_domain_and_shifts() -> None:
    assert parse_target("nyud") == ("nyud", ())
    assert parse_target("nyud+gaussian_noise@0.1") == ("nyud", (parse_shift("gaussian_noise@0.1"),))
    assert parse_target(" rooms + jpeg@30 + fog@s2 ") == (
        "rooms",
        (parse_shift("jpeg@30"), parse_shift("fog@s2")),
    )


@pytest.mark.parametrize("text", ["", "+jpeg@30", "rooms+", "rooms@s3", "jpeg@30+rooms", " + "])
def test_invalid_targets_are_refused(text: str) -> None:
    with pytest.raises(BenchError, match=r"DOMAIN\+SHIFT@STRENGTH \(such as rooms\+jpeg@30\)"):
        parse_target(text)


def test_all_wrong_shifts_are_named_at_once() -> None:
    with pytest.raises(BenchError) as caught:
        parse_target("rooms+jpg@30+fog@s2+fog@s9+")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "did you mean jpeg" in lines[0]
    assert "no severity s9" in lines[1]
    assert "unknown shift ''" in lines[2]


def test_names_are_checked_without_torch() -> None:
    code = (
        "import sys; from ttt_bench.data.shifts.kinds import parse_target; "
        "from ttt_bench.data.shifts.streams import parse_stream; "
        "parse_target('rooms+jpeg@30'), parse_stream('continual:fog@s1,jpeg@30'); "
        "print([name for name in ('torch', 'numpy', 'PIL') if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "[]"


# Data sets under shifts

SHIFTS = parse_shifts("gaussian_noise@0.3+motion_blur@s3+snow@s1")


def _same(a: Batch, b: Batch) -> bool:
    return torch.equal(a.images, b.images) and all(
        torch.equal(a.targets[task], b.targets[task]) for task in a.targets
    )


def test_labels_are_kept_bit_for_bit_and_images_are_changed() -> None:
    plain = ToyDataset()
    shifted = ShiftedDataset(plain, SHIFTS, seed=1)
    before, after = plain.batch(range(12)), shifted.batch(range(12))
    assert after.targets.keys() == before.targets.keys()
    for task, target in before.targets.items():
        assert torch.equal(after.targets[task], target)
        assert after.targets[task].dtype == target.dtype
    assert after.images.shape == before.images.shape
    assert after.images.dtype == torch.float32
    for row in range(12):
        assert not torch.equal(after.images[row], before.images[row])
    assert after.images.min() >= 0
    assert after.images.max() <= 1
    assert torch.equal(plain.images, ToyDataset().images)  # nothing was changed in place


@pytest.mark.parametrize("name", sorted(KINDS))
def test_an_image_depends_on_seed_and_index_and_not_on_its_batch(name: str) -> None:
    plain = ToyDataset(images=5)
    shifted = ShiftedDataset(plain, [parse_shift(f"{name}@s3")], seed=4)
    together = shifted.batch([0, 3, 1])
    assert _same(together, shifted.batch([0, 3, 1]))
    assert torch.equal(together.images[1], shifted.batch([3]).images[0])
    assert torch.equal(together.images[1], shifted.batch([4, 3, 3]).images[2])
    again = pickle.loads(pickle.dumps(shifted))  # as a worker process has it
    assert _same(together, again.batch([0, 3, 1]))


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "fog", "snow"]
)
def test_seed_and_index_change_what_is_drawn(name: str) -> None:
    image = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))
    chain = [parse_shift(f"{name}@s3")]
    first = shift_image(image, chain, seed=0, index=0)
    assert not torch.equal(first, shift_image(image, chain, seed=1, index=0))
    assert not torch.equal(first, shift_image(image, chain, seed=0, index=1))


def test_the_draws_are_the_same_at_every_strength() -> None:
    image = torch.full((3, 40, 40), 0.5)
    image[:, :20] = 0.4
    weak, strong = (
        shift_image(image, [parse_shift(f"gaussian_noise@{a}")], 0, 7) - image for a in (0.1, 0.2)
    )
    torch.testing.assert_close(strong, 2 * weak, rtol=1e-4, atol=1e-6)


def test_the_same_shift_twice_draws_twice() -> None:
    image = torch.full((3, 200, 200), 0.5)
    once = shift_image(image, parse_shifts("absolute_noise@0.05"), 0, 0) - image
    twice = (
        shift_image(image, parse_shifts("absolute_noise@0.05+absolute_noise@0.05"), 0, 0) - image
    )
    assert float(once.std()) == pytest.approx(0.05, rel=0.02)
    assert float(twice.std()) == pytest.approx(0.05 * 2**0.5, rel=0.02)
    stacked = ShiftedDataset(
        ShiftedDataset(_Constant(image), parse_shifts("absolute_noise@0.05"), 0),
        parse_shifts("jpeg@90"),
        0,
    )
    assert stacked.domain == "constant+absolute_noise@0.05+jpeg@90"


def test_shifts_are_applied_from_left_to_right() -> None:
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    there = shift_image(image, parse_shifts("contrast@0+brightness@0.5"), 0, 0)
    back = shift_image(image, parse_shifts("brightness@0.5+contrast@0"), 0, 0)
    assert not torch.allclose(there, back)
    mean = image.mean((1, 2))
    torch.testing.assert_close(
        there[:, 0, 0], mean * min(float(mean.max()) + 0.5, 1.0) / mean.max()
    )


class _Constant(Dataset):
    """A data set of one image and one notice that records calls of `prepare`."""

    def __init__(self, image: torch.Tensor) -> None:
        self.domain, self.size, self.tasks, self.fingerprint = (
            "constant",
            (image.shape[1], image.shape[2]),
            (),
            "mark",
        )
        self.notices = ("half of it is missing",)
        self.image, self.prepared = image, 0

    def __len__(self) -> int:
        return 1

    def batch(self, indices: object) -> Batch:
        return Batch(self.image[None], {})

    def prepare(self, progress: Progress) -> None:
        self.prepared += 1


def test_a_shifted_data_set_describes_itself() -> None:
    plain = _Constant(torch.rand(3, 8, 8))
    shifted = ShiftedDataset(plain, parse_shifts("jpeg@30+fog@s3"), seed=0)
    assert (shifted.domain, shifted.size, shifted.tasks, len(shifted)) == (
        "constant+jpeg@30+fog@s3",
        (8, 8),
        (),
        1,
    )
    assert shifted.notices[0] == "half of it is missing"
    assert len(shifted.notices) == 2
    for words in ("constant", "jpeg@30", "fog@s3", "JPEG compression", "labels are not"):
        assert words in shifted.notices[1]
    shifted.prepare(Silent())
    assert plain.prepared == 1


def test_a_fingerprint_changes_with_what_is_given() -> None:
    def fingerprint_of(text: str, seed: int = 0, base: str = "a") -> str:
        plain = ToyDataset(images=2)
        plain.fingerprint = base
        return ShiftedDataset(plain, parse_shifts(text), seed).fingerprint

    fingerprints = [
        fingerprint_of("jpeg@30"),
        fingerprint_of("jpeg@31"),
        fingerprint_of("jpeg@30", seed=1),
        fingerprint_of("jpeg@30", base="b"),
        fingerprint_of("jpeg@30+fog@s1"),
        fingerprint_of("fog@s1+jpeg@30"),
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    assert "a" not in fingerprints
    assert fingerprint_of("jpeg@30") == fingerprints[0]
    assert fingerprint_of("jpeg@s5") == fingerprint_of("jpeg@7")  # the same images
