"""The published numbers, and the doubts about them, against arithmetic on the file's text."""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import ROOT

import ttt_bench.results.published as package
from ttt_bench.methods.s4t import S4TOptions
from ttt_bench.results.published import (
    checks,
    for_pair,
    numbers,
    other_tables,
    published_seconds,
)
from ttt_bench.results.published.numbers import PublishedNumber, half_unit
from ttt_bench.results.published.variants import VARIANTS
from ttt_bench.stats.comparison import split_settings

PAIRS = ("taskonomy:nyud", "taskonomy:pascal", "nyud:taskonomy", "pascal:taskonomy")
FILE = Path(package.__file__).with_name("published.csv")
FACTS = ROOT.parent / "shared" / "specs" / "published.csv"


def lines(**wanted: str) -> list[dict[str, str]]:
    """Return the lines of the file with these values, read without the code under test."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return [
            row
            for row in csv.DictReader(file)
            if all(row[name] == value for name, value in wanted.items())
        ]


@pytest.mark.skipif(not FACTS.exists(), reason="the table of facts is not next to the project")
def test_the_file_is_the_table_of_facts() -> None:
    assert FILE.read_bytes() == FACTS.read_bytes()


def test_every_number_is_read_as_it_is_printed() -> None:
    frame, expected = numbers(), lines()
    assert len(frame) == len(expected) == 362
    assert list(frame["value"]) == [float(line["value"]) for line in expected]
    assert list(frame["std"].fillna(-1)) == [float(line["std"] or -1) for line in expected]


@pytest.mark.parametrize(
    ("paper", "table", "count"),
    [
        ("TR-TTT", "Table 6", 50),
        ("TR-TTT", "Table 7", 40),
        ("TR-TTT", "Table 8", 14),
        ("TR-TTT", "Table 9", 11),
        ("S4T", "Table 5", 25),
    ],
)
def test_tables_are_whole(paper: str, table: str, count: int) -> None:
    frame = numbers()
    assert ((frame["paper"] == paper) & (frame["table"] == table)).sum() == count


@pytest.mark.parametrize("pair", PAIRS)
def test_ten_methods_per_pair_and_base_at_zero(pair: str) -> None:
    table = for_pair(pair)
    assert table is not None
    assert len([row for row in table.rows if not row.settings]) == 10
    base = table.row("base")
    assert base is not None
    assert base.delta == PublishedNumber("0.0")
    assert (base.delta_on(table.tasks), base.flags) == (0.0, ())
    assert len(table.tasks) == (4 if "nyud" in pair else 3)


def test_the_papers_main_row() -> None:
    table = for_pair("taskonomy:nyud")
    assert table is not None
    assert table.name == "TR-TTT, Table 1"
    s4t = table.row("s4t")
    assert s4t is not None
    assert s4t.name == "TR-TTT (ours)"
    assert s4t.scores["semseg"] == PublishedNumber("59.37", "0.152")
    assert s4t.delta == PublishedNumber("34.94", "0.008")
    assert s4t.delta_on(table.tasks) == pytest.approx(34.886, abs=1e-3)


def test_delta_is_recomputed_on_the_tasks_that_were_measured() -> None:
    table = for_pair("taskonomy:nyud")
    assert table is not None
    row = table.row("s4t")
    assert row is not None
    # (59.37 - 29.31) / 29.31, (1.179 - 1.052) / 1.179 and (61.32 - 45.33) / 61.32
    expected = 100 * ((59.37 / 29.31 - 1) + (1 - 1.052 / 1.179) + (1 - 45.33 / 61.32)) / 3
    assert row.delta_on(("semseg", "depth", "normals")) == pytest.approx(expected)
    assert expected == pytest.approx(46.5, abs=0.05)


def test_the_paper_of_a_reversed_pair_and_its_other_spreads() -> None:
    table = for_pair("nyud:taskonomy")
    assert table is not None
    assert table.name == "S4T, Table 4"
    (other,) = other_tables("nyud:taskonomy")
    assert other.name == "TR-TTT, Table 6"
    shown, again = table.row("base"), other.row("base")
    assert shown is not None
    assert again is not None
    assert (shown.scores["semseg"].sd, again.scores["semseg"].sd) == ("0.0158", "1.58")


def flagged(word: str) -> set[tuple[str, str, str]]:
    """Return (pair, method, table) of every row with a flag that has a word."""
    found = set()
    for pair in PAIRS:
        main = for_pair(pair)
        assert main is not None
        for table in (main, *other_tables(pair)):
            for row in table.rows:
                if any(word in flag for flag in row.flags):
                    found.add((pair, row.method, table.name))
    return found


def test_four_wrong_deltas_are_flagged() -> None:
    assert {(pair, method) for pair, method, _ in flagged("printed means")} == set(checks.CAUSES)
    table = for_pair("taskonomy:pascal")
    assert table is not None
    row = table.row("tttflow")
    assert row is not None
    assert row.flags == ("printed 27.97, the printed means give 24.96: cause unknown (a digit?)",)


def test_three_impossible_spreads_are_flagged() -> None:
    assert flagged("allow") == {
        ("taskonomy:pascal", "tent", "TR-TTT, Table 2"),
        ("pascal:taskonomy", "tent", "TR-TTT, Table 7"),
        ("nyud:taskonomy", "ttt", "TR-TTT, Table 6"),
    }
    table = for_pair("taskonomy:pascal")
    assert table is not None
    row = table.row("tent")
    assert row is not None
    assert row.flags == (
        "± 0.004 is printed for Delta_TTT. The printed spreads of the tasks allow 0.909 to 1.24 if "
        "Base is fixed",
    )


def test_the_possible_range_is_that_of_all_correlations() -> None:
    # parts of two tasks and every correlation: Delta's spread is |a - b| to a + b
    base = {"depth": PublishedNumber("1.0"), "edge": PublishedNumber("2.0")}
    scores = {"depth": PublishedNumber("0.9", "0.100"), "edge": PublishedNumber("1.8", "0.080")}
    a, b = 100 * 0.1 / 1 / 2, 100 * 0.08 / 2 / 2
    spreads = [np.sqrt(a * a + b * b + 2 * rho * a * b) for rho in np.linspace(-1, 1, 201).tolist()]
    for spread in (min(spreads), max(spreads), 4.0):
        delta = PublishedNumber("10.000", f"{spread:.3f}")
        assert not checks.spread_flag(delta, scores, base)
    for spread in (min(spreads) - 0.2, max(spreads) + 0.2):
        delta = PublishedNumber("10.000", f"{spread:.3f}")
        assert "allow 3 to 7" in checks.spread_flag(delta, scores, base)


@pytest.mark.parametrize(
    ("text", "error"), [("39.75", 0.005), ("7.1e-05", 0.5e-6), ("1e-3", 0.5e-3), ("4", 0.5)]
)
def test_half_a_unit_of_the_last_digit(text: str, error: float) -> None:
    assert half_unit(text) == pytest.approx(error)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0.0041", "0.00412", True),
        ("0.0005", "0.000494", True),
        ("0.0158", "1.58", False),
        ("7.1e-05", "0.00071", False),
        ("0.0001", "1.41e-05", False),
    ],
)
def test_spreads_that_may_be_roundings_of_one_number(one: str, other: str, same: bool) -> None:
    assert checks.same_spread(one, other) is same


@pytest.mark.parametrize("alpha", ["0", "0.01", "0.05", "0.1", "0.2", "0.3", "0.4"])
def test_a_target_with_noise_has_its_published_row(alpha: str) -> None:
    table = for_pair(f"taskonomy:nyud+gaussian_noise@{alpha}")
    (line,) = lines(table="Table 2", note=f"gaussian_noise_alpha={alpha}")
    assert table is not None
    assert table.name == "S4T, Table 2"
    (row,) = table.rows
    assert (row.label, row.delta) == ("s4t", PublishedNumber(line["value"]))
    assert row.delta_on(table.tasks) is None


@pytest.mark.parametrize(
    "pair",
    [
        *("rooms:rooms-mix", "taskonomy:rooms", "taskonomy:nyud+fog@s3"),
        *("taskonomy:nyud+gaussian_noise@0.15", "taskonomy:pascal+gaussian_noise@0.1"),
        "taskonomy:nyud+gaussian_noise@0.1+fog@s3",
    ],
)
def test_other_pairs_have_no_published_numbers(pair: str) -> None:
    assert for_pair(pair) is None
    if "+" not in pair:
        assert other_tables(pair) == ()


def test_ablations_have_the_numbers_of_their_tables() -> None:
    table = for_pair("taskonomy:nyud")
    assert table is not None
    deltas = {row.settings: row.delta.mean for row in table.rows if row.settings and row.delta}
    assert deltas == {
        "mask_ratio=0.0; projection=shared": "26.16",
        "mask_ratio=0.0": "33.79",
        "projection=shared; target=image": "26.76",
        "masking=random": "32.76",
        "masking=disjoint": "32.56",
    }
    single = {row.label: row.scores for row in table.rows if not row.delta}
    assert single == {
        "s4t (tasks=single:semseg)": {"semseg": PublishedNumber("56.56", "0.085")},
        "s4t (tasks=single:depth)": {"depth": PublishedNumber("1.065", "0.0056")},
        "s4t (tasks=single:normals)": {"normals": PublishedNumber("47.32", "0.03")},
        "s4t (tasks=single:edge)": {"edge": PublishedNumber("0.1444", "1.9e-05")},
    }


def test_another_network_has_its_own_numbers() -> None:
    table = for_pair("taskonomy:nyud", "mti_net")
    assert table is not None
    (row,) = table.rows
    (line,) = lines(paper="S4T", table="Table 3", method="nc_ttt+mti_net", metric="delta_ttt")
    assert (row.label, row.delta, table.name) == (
        "nc_ttt",
        PublishedNumber(line["value"]),
        "S4T, Table 3",
    )
    assert for_pair("taskonomy:pascal", "mti_net") is None
    assert for_pair("taskonomy:nyud+gaussian_noise@0.1", "mti_net") is None
    assert for_pair("taskonomy:nyud", "dpt") is None
    assert published_seconds("mti_net") == {"nc_ttt": 0.3208}
    assert published_seconds("dpt") == {}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.note)
def test_settings_of_ablations_are_those_that_a_run_stores(variant: Any) -> None:
    settings = variant.settings.format(task="depth")
    given = dict(entry.split("=") for entry in settings.split("; "))
    before, after = S4TOptions().model_dump(), S4TOptions(**given).model_dump()
    changed = sorted(f"s4t.{name}={after[name]}" for name in after if after[name] != before[name])
    assert split_settings("; ".join(changed), "s4t") == ("", settings)


def test_every_row_of_a_table_with_base_is_in_some_table() -> None:
    for pair, method in product(PAIRS, ("base", "s4t")):
        main = for_pair(pair)
        assert main is not None
        tables = {table.name for table in (main, *other_tables(pair)) if table.row(method)}
        found = lines(pair=pair, method=method, metric="delta_ttt")
        with_base = {f"{b['paper']}, {b['table']}" for b in lines(pair=pair, method="base")}
        assert tables == {f"{line['paper']}, {line['table']}" for line in found} & with_base
