"""The pages on data agree with the code: tables and options."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields

from support.paths import DOCS

from ttt_bench.data.label_spaces import LABEL_SPACES, label_space_from
from ttt_bench.data.shifts.kinds import KINDS, LEFT_OUT
from ttt_bench.data.shifts.streams import DESCRIPTIONS
from ttt_bench.data.taskonomy.index import LAYOUTS
from ttt_bench.data.variants import CORRECTED, OFFICIAL, DataVariant
from ttt_bench.datatools.check.findings import Finding

PAGE = (DOCS / "data.md").read_text(encoding="utf-8")


def rows(head: str) -> list[list[str]]:
    """Return the cells of the table whose first column has this title, without its head."""
    table = PAGE[PAGE.index(f"\n| {head} |") :].split("\n\n")[0].strip().splitlines()[2:]
    return [cells(line) for line in table]


def cells(line: str) -> list[str]:
    """Return the cells of a line of a table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def in_toml(variant: DataVariant, option: str) -> str:
    """Return an option's value as a config file writes it."""
    value = getattr(variant, option)
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_every_shift_is_listed_with_its_range_and_severities() -> None:
    found = {row[0].strip("`"): row[1:] for row in rows("shift")}
    assert list(found) == list(KINDS)
    for name, kind in KINDS.items():
        summary, meaning, limits, severities = found[name]
        assert (summary, meaning) == (kind.summary, kind.meaning)
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", limits)]
        assert numbers == list(kind.limits or ())
        assert ("whole" in limits) == kind.whole
        written = [float(number) for number in re.findall(r"[\d.]+", severities)]
        assert written == [
            float(constant) for constants in kind.severities for constant in constants
        ]
        assert severities.count("(") == (5 if len(kind.severities[0]) > 1 else 0)
    for words in ("elastic", "glass", "frost"):
        assert any(words in name for name in LEFT_OUT)
        assert words in PAGE


def test_every_option_of_a_variant_is_listed_with_both_values() -> None:
    found = {row[0].strip("`"): row[1:3] for row in rows("option")}
    expected = {
        field.name: [in_toml(CORRECTED, field.name), in_toml(OFFICIAL, field.name)]
        for field in fields(CORRECTED)
        if field.name != "name"
    }
    assert found == expected


def test_every_label_space_is_listed_with_its_classes() -> None:
    found = {row[0].strip("`"): row[1:] for row in rows("label space")}
    assert found == {
        name: [", ".join(s.classes), ", ".join(s.native)] for name, s in LABEL_SPACES.items()
    }


def test_the_label_space_of_ones_own_is_one() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE.split("## Classes: ")[1], re.DOTALL)
    config = tomllib.loads(block)
    space = label_space_from(config["label_space"], config["label_spaces"][config["label_space"]])
    assert space.table("taskonomy")[[3, 4, 6, 7]].tolist() == [0, 0, 1, 255]
    assert space.footnote


def test_every_layout_check_and_stream_is_listed() -> None:
    domains = [row[1].strip("`").replace("point_...", "point_") for row in rows("layout")]
    for layout, written in zip(LAYOUTS.values(), domains, strict=True):
        assert layout.split("point_")[0] == written.split("point_")[0]
    checks = (
        Finding.__doc__.split("check: ")[1].split(".\n")[0].replace(" or ", ", ").replace("\n", " ")
    )
    assert {row[0].strip("`") for row in rows("check")} == set(re.findall(r"\w+", checks))
    assert [re.match(r"`(\w+)", row[0])[1] for row in rows("stream")] == list(DESCRIPTIONS)
