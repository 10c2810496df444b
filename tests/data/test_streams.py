"""Streams: their names, their order, and data sets in a stream."""

from __future__ import annotations

import pickle

import pytest
import torch
from support.toy import ToyDataset

from ttt_bench.data.shifts.kinds import parse_shift, parse_shifts
from ttt_bench.data.shifts.streams import (
    DESCRIPTIONS,
    SHIFTING,
    Position,
    Stream,
    parse_stream,
    stream_positions,
)
from ttt_bench.data.shifts.views import ShiftedDataset, StreamedDataset, shift_image
from ttt_bench.errors import BenchError


@pytest.mark.parametrize(
    ("text", "stream"),
    [
        ("fixed", Stream("fixed")),
        (" shuffled ", Stream("shuffled")),
        ("continual:fog@s3", Stream("continual", (parse_shifts("fog@s3"),))),
        (
            "mixed:fog@s3, jpeg@30+snow@s1 ,fog@s3",
            Stream(
                "mixed",
                (parse_shifts("fog@s3"), parse_shifts("jpeg@30+snow@s1"), parse_shifts("fog@s3")),
            ),
        ),
    ],
)
def test_a_stream_is_a_kind_and_shifts(text: str, stream: Stream) -> None:
    assert parse_stream(text) == stream
    assert str(stream) == text.replace(" ", "")
    assert parse_stream(str(stream)) == stream


def test_segments_have_names() -> None:
    assert parse_stream("continual:fog@s3,jpeg@30+snow@s1").names == ("fog@s3", "jpeg@30+snow@s1")
    assert parse_stream("shuffled").names == ("",)
    assert set(SHIFTING) < set(DESCRIPTIONS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shufled", ["unknown stream 'shufled'", "did you mean shuffled"]),
        ("", ["unknown stream ''", "continual, fixed, mixed, shuffled"]),
        ("continual", ["continual needs shifts", "such as continual:fog@s3,snow@s3"]),
        ("mixed:", ["mixed needs shifts"]),
        ("fixed:fog@s3", ["fixed takes no shifts", "DOMAIN+SHIFT@STRENGTH"]),
        ("shuffled:", ["shuffled takes no shifts"]),
        (
            "continual:fog@s9,jpg@30,,fog@s1",
            [
                "stream continual: shift fog@s9: no severity s9",
                "did you mean jpeg",
                "unknown shift ''",
            ],
        ),
    ],
)
def test_a_wrong_stream_is_explained(text: str, expected: list[str]) -> None:
    with pytest.raises(BenchError) as caught:
        parse_stream(text)
    for words in expected:
        assert words in str(caught.value)


def test_fixed_is_file_order() -> None:
    assert stream_positions(parse_stream("fixed"), 3, seed=5) == [(0, 0), (1, 0), (2, 0)]


def test_continual_shows_everything_under_each_shift() -> None:
    found = stream_positions(parse_stream("continual:fog@s1,jpeg@30,fog@s1"), 2, seed=5)
    assert found == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    assert found[3] == Position(image=1, segment=1)


def test_shuffled_is_a_permutation_by_the_seed() -> None:
    stream = parse_stream("shuffled")
    orders = {
        seed: [place.image for place in stream_positions(stream, 50, seed)] for seed in range(3)
    }
    for seed, order in orders.items():
        assert sorted(order) == list(range(50))
        assert order == [place.image for place in stream_positions(stream, 50, seed)]
        assert order != list(range(50))
    assert orders[0] != orders[1] != orders[2]
    first = [
        stream_positions(stream, 4, seed)[0].image for seed in range(400)
    ]  # all positions are equally likely
    assert all(70 < first.count(image) < 130 for image in range(4))


def test_mixed_shows_every_image_once_under_a_drawn_shift() -> None:
    stream = parse_stream("mixed:fog@s1,jpeg@30,snow@s1")
    found = stream_positions(stream, 3000, seed=0)
    assert [place.image for place in found] == list(range(3000))
    segments = [place.segment for place in found]
    assert all(900 < segments.count(segment) < 1100 for segment in range(3))
    assert stream_positions(stream, 10, seed=0) == found[:10]  # fewer images are the first ones
    assert stream_positions(stream, 3000, seed=1) != found


# Data sets in a stream's order


def test_a_fixed_stream_is_the_data_set_itself() -> None:
    plain = ToyDataset(images=5)
    streamed = StreamedDataset(plain, parse_stream("fixed"), seed=0)
    assert len(streamed) == 5
    assert (streamed.domain, streamed.size, streamed.tasks) == (
        plain.domain,
        plain.size,
        plain.tasks,
    )
    assert streamed.fingerprint == plain.fingerprint
    assert streamed.notices == plain.notices
    assert torch.equal(streamed.batch([3, 1]).images, plain.batch([3, 1]).images)


def test_shuffled_images_keep_their_labels() -> None:
    plain = ToyDataset(images=9)
    streamed = StreamedDataset(plain, parse_stream("shuffled"), seed=3)
    order = [place.image for place in streamed.positions]
    assert sorted(order) == list(range(9))
    found, expected = streamed.batch(range(9)), plain.batch(order)
    assert torch.equal(found.images, expected.images)
    assert all(torch.equal(found.targets[task], expected.targets[task]) for task in plain.tasks)


def test_a_continual_stream_by_hand() -> None:
    plain = ToyDataset(images=3)
    streamed = StreamedDataset(
        plain, parse_stream("continual:snow@s1,gaussian_noise@0.2+jpeg@30"), seed=7
    )
    assert len(streamed) == 6
    chains = [parse_shifts("snow@s1"), parse_shifts("gaussian_noise@0.2+jpeg@30")]
    batch = streamed.batch([2, 3, 5])  # across the border between the segments
    for row, (image, segment) in enumerate([(2, 0), (0, 1), (2, 1)]):
        assert streamed.positions[[2, 3, 5][row]] == (image, segment)
        assert torch.equal(
            batch.images[row], shift_image(plain.images[image], chains[segment], 7, image)
        )
        assert all(
            torch.equal(batch.targets[task][row], plain.targets[task][image])
            for task in plain.tasks
        )


def test_a_segment_equals_the_target_under_its_shift() -> None:
    plain = ToyDataset(images=4)
    streamed = StreamedDataset(plain, parse_stream("continual:fog@s3,snow@s2"), seed=1)
    assert torch.equal(
        streamed.batch(range(4, 8)).images,
        ShiftedDataset(plain, parse_shifts("snow@s2"), 1).batch(range(4)).images,
    )


def test_a_mixed_stream_does_not_depend_on_batches() -> None:
    plain = ToyDataset(images=12)
    streamed = StreamedDataset(plain, parse_stream("mixed:fog@s3,gaussian_noise@0.3"), seed=2)
    assert {place.segment for place in streamed.positions} == {0, 1}
    together = streamed.batch(range(12)).images
    again = pickle.loads(pickle.dumps(streamed))
    for position in (11, 4, 0):
        assert torch.equal(again.batch([position]).images[0], together[position])
        shift = streamed.stream.segments[streamed.positions[position].segment]
        assert torch.equal(
            together[position], shift_image(plain.images[position], shift, 2, position)
        )


def test_a_stream_over_a_shifted_target_uses_other_draws() -> None:
    plain = ToyDataset(images=1, size=(128, 128))
    plain.images = torch.full((1, 3, 128, 128), 0.5)
    noise = parse_shift("absolute_noise@0.05")
    streamed = StreamedDataset(
        ShiftedDataset(plain, [noise], 0), Stream("continual", ((noise,),)), seed=0
    )
    assert float((streamed.batch([0]).images - 0.5).std()) == pytest.approx(0.05 * 2**0.5, rel=0.02)


def test_a_limit_is_on_the_data_sets_images() -> None:
    plain = ToyDataset(images=10)
    assert (
        len(StreamedDataset(plain, parse_stream("continual:fog@s1,fog@s2"), seed=0, count=4)) == 8
    )
    shuffled = StreamedDataset(plain, parse_stream("shuffled"), seed=0, count=4)
    assert sorted(place.image for place in shuffled.positions) == [0, 1, 2, 3]
    assert len(StreamedDataset(plain, parse_stream("fixed"), seed=0, count=99)) == 10


def test_a_stream_is_part_of_the_fingerprint_and_of_the_notices() -> None:
    plain = ToyDataset(images=6)
    texts = [
        "shuffled",
        "continual:fog@s1,fog@s2",
        "continual:fog@s2,fog@s1",
        "mixed:fog@s1,fog@s2",
        "mixed:fog@s1",
    ]
    marks = {text: StreamedDataset(plain, parse_stream(text), seed=0).fingerprint for text in texts}
    assert len({*marks.values(), plain.fingerprint}) == len(texts) + 1
    assert StreamedDataset(plain, parse_stream("shuffled"), seed=1).fingerprint != marks["shuffled"]
    assert (
        StreamedDataset(plain, parse_stream("shuffled"), seed=0, count=3).fingerprint
        != marks["shuffled"]
    )
    assert StreamedDataset(plain, parse_stream("shuffled"), seed=0).fingerprint == marks["shuffled"]
    notices = StreamedDataset(plain, parse_stream(texts[1]), seed=0).notices
    assert len(notices) == 1
    assert "fog@s1, fog@s2" in notices[0]
