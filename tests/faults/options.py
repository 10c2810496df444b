"""Random options and config files; most are planned only, some are run."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from faults.command import Ended, call
from faults.outcome import ACCEPTED, DEFECT, Outcome, judge
from faults.sweeps import SETTINGS, Calm, Place
from ttt_bench.cli.options import SWEEP_FIELDS
from ttt_bench.config.preset import DataSettings, ModelConfig, TrainingSettings
from ttt_bench.config.request import Request, choices
from ttt_bench.registry import METHODS

CAMPAIGN = "options"
_RUN_SHARE = 0.06
_RUN_SECONDS = 60.0
_ODD = (
    *("", " ", "0", "-1", "1", "3", "1e-3", "1e400", "nan", "inf", "-inf", "true", "false", "none"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" * 5000),
    *("'x'", '"x"', "[]", "[1, 2]", "[[[1]]]", "{a = 1}", "[" * 3000, "2020-01-01", "0x10", "1_0"),
    *(
        "all",
        "base",
        "tent",
        "Base",
        "bse",
        "base,base",
        "base,",
        ",",
        "frozen",
        "online",
        "x" * 300,
    ),
    *(
        "/",
        "/no/such",
        "/dev/null",
        "/proc/self/mem",
        "..",
        "~",
        "~nobody/x",
        "a/b",
        "résumé",
        "日本",
    ),
    *(
        "\udcff",
        "\x1b[31m",
        "%s",
        "{}",
        "$HOME",
        "rooms",
        "rooms:rooms-mix",
        "rooms:rooms-mix+fog@s3",
    ),
    *("rooms:rooms-mix+fog@", "rooms:rooms-mix+@@", "rooms:x", ":", "cuda:99", "cpu:0", "meta"),
    *(
        "continual:fog@s3",
        "mixed:",
        "shuffled",
        "pascal5",
        "adam",
        "sgd",
        "test_resnet",
        "resnet999",
    ),
)
_OTHER_COMMANDS = (
    *(["report"], ["compare"], ["params"], ["methods", "list"], ["methods", "show"], ["pairs"]),
    *(["study", "list"], ["study"], ["data", "list"], ["tune"], ["time"], ["train"], ["nonsense"]),
)


def campaign(calms: list[Calm], count: int, draw: random.Random, root: Path) -> Iterator[Outcome]:
    """Try `count` random commands."""
    for number in range(count):
        place = Place(root / f"options-{number}")
        place.root.mkdir()
        kind = draw.random()
        if kind < _RUN_SHARE:
            yield _executed(place, calms[0], draw)
        elif kind < 0.3:
            yield _configured(place, calms[0], draw)
        elif kind < 0.4:
            yield _other(place, calms[0], draw)
        else:
            yield _planned(place, calms[0], draw)
        place.remove()


def _planned(place: Place, calm: Calm, draw: random.Random) -> Outcome:
    words = ["run", "--plan", *_random_options(draw, draw.choice([1, 1, 2, 8]), place)]
    return _judged(words, _call(words, place, calm), "planned options")


def _configured(place: Place, calm: Calm, draw: random.Random) -> Outcome:
    """Plan with a config file of random entries, or of noise."""
    path = place.root / "config.toml"
    path.write_bytes(_config(draw))
    words = [
        "run",
        "--plan",
        f"--config={path}",
        *_random_options(draw, draw.choice([0, 1]), place),
    ]
    return _judged(words, _call(words, place, calm), "planned config file", path.read_bytes())


def _executed(place: Place, calm: Calm, draw: random.Random) -> Outcome:
    """Run with a few odd settings; amounts are set last, so that the run stays short."""
    methods = ",".join(draw.sample(["base", "norm", "tent", "s4t", "ttt", "tipi"], 2))
    odd = [f"--set={_setting(draw)}={_value(draw)}" for _ in range(draw.choice([1, 1, 2]))]
    amounts = {name: n for name, n in SETTINGS.items() if name.startswith(("data", "training"))}
    sets = [f"--set={name}={n}" for name, n in amounts.items()]
    sets += [f"--set={name}.steps=1" for name in methods.split(",")]
    fixed = ["--preset=smoke", "--device=cpu", f"--results={place.results}"]
    words = ["run", f"--methods={methods}", *odd, *sets, *fixed]
    return _judged(words, _call(words, place, calm, _RUN_SECONDS), "run with odd settings")


def _other(place: Place, calm: Calm, draw: random.Random) -> Outcome:
    """Try another command with odd arguments; whatever it writes goes to the place."""
    words = [*draw.choice(_OTHER_COMMANDS)]
    if words[0] in ("tune", "time", "train", "study"):
        words.append("--plan")  # before an option that could take it for its value
    if draw.random() < 0.7:
        words.append(
            draw.choice(["--results", "--out", "--json", "--plan", "--preset", "--nonsense"])
        )
    if draw.random() < 0.7:
        words.append(_value(draw))
    return _judged(words, _call(words, place, calm), f"command {words[0]}")


def _call(words: list[str], place: Place, calm: Calm, limit: float = 60.0) -> Ended:
    environment = {**place.environment, "TTT_BENCH_CACHE": str(calm.place.cache)}
    words = [word.replace("\x00", "") for word in words]

    return call(*words, environment=environment, hook=partial(os.chdir, place.root), limit=limit)


def _judged(words: list[str], ended: Ended, fault: str, config: bytes = b"") -> Outcome:
    outcome, detail = judge(ended, same=None)
    if outcome == ACCEPTED and "Warning" in ended.text:
        outcome, detail = DEFECT, f"a warning of Python: {ended.text[-500:]}"
    if outcome == DEFECT:
        detail = f"{[word[:80] for word in words]} {config[:300]!r} {detail}"
    return Outcome(campaign=CAMPAIGN, fault=fault, outcome=outcome, detail=detail)


def _value(draw: random.Random) -> str:
    return draw.choice(_ODD)


def _random_options(draw: random.Random, number: int, place: Place) -> list[str]:
    """Return options of `run` with odd values; the rest makes the plan small."""
    words = ["--preset=smoke", "--device=cpu", f"--results={place.results}"]
    if draw.random() < 0.6:
        words.append("--methods=base,tent")
    for _ in range(number):
        field = draw.choice(SWEEP_FIELDS)
        flag = f"--{field.replace('_', '-')}"
        if field in ("agreement", "check"):
            words.append(flag)
        elif field == "set" or draw.random() < 0.4:
            words.append(f"--set={_setting(draw)}={_value(draw)}")
        else:
            allowed = [*choices(field), _value(draw), _value(draw)]
            words.append(f"{flag}={draw.choice(allowed)}")
    return words


def _setting(draw: random.Random) -> str:
    """Return the name of a setting; some are misspelt."""
    sections: dict[str, list[str]] = {
        "model": sorted(ModelConfig.model_fields),
        "data": sorted(DataSettings.model_fields),
        "training": sorted(TrainingSettings.model_fields),
    }
    for name in ("tent", "s4t", "ttt", "tipi"):
        options = METHODS.load(name).Options.model_fields
        sections[name] = [*sorted(options), "lr", "optimiser", "momentum", "steps"]
    section = draw.choice(sorted(sections))
    key = draw.choice(sections[section])
    kind = draw.random()
    if kind < 0.05:
        return "batch"
    if kind < 0.1:
        return f"{section}.{key[:-1]}"
    return f"{section}.{key}.x" if kind < 0.15 else f"{section}.{key}"


def _config(draw: random.Random) -> bytes:
    """Return a config file: random entries, sometimes damaged."""
    entries = [_entry(draw) for _ in range(draw.randint(1, 4))]
    data = "\n".join(entries).encode(errors="surrogatepass")
    if draw.random() < 0.2:
        place = draw.randrange(len(data))
        data = data[:place] + draw.randbytes(draw.randint(0, 20)) + data[place + 1 :]
    return data + (b"\n" if draw.random() < 0.9 else b"\x00")


def _entry(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.3:
        section, _, key = _setting(draw).partition(".")
        return f"[set.{section}]\n{key or 'x'} = {_toml(draw)}"
    name = draw.choice(sorted(Request.model_fields))
    return f"{name} = {_toml(draw)}"


def _toml(draw: random.Random, depth: int = 0) -> str:
    """Return a random value in TOML, nested now and then."""
    kind = draw.random()
    if kind < 0.3 and depth < 3:
        return f"[{', '.join(_toml(draw, depth + 1) for _ in range(draw.randint(0, 3)))}]"
    if kind < 0.4 and depth < 3:
        return f"{{ a = {_toml(draw, depth + 1)} }}"
    if kind < 0.7:
        return repr(draw.choice([0, -1, 3, 2**63, 2**64, 1e300, float("inf"), -0.0]))
    if kind < 0.75:
        return draw.choice(["true", "false", "2020-01-01", "12:00:00", "nan"])
    return json.dumps(_value(draw))  # also a text of TOML
