"""Break runs and stored files at random, and count how the next commands end.

    python benchmarks/faults.py FOLDER [--seed 0] [--kills 5] [--damages 60]

FOLDER must not exist. The report at the end says per kind of fault how many commands gave the same
results as the undisturbed run, a message, a traceback, or other results without a message. The
last two should be 0.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

COMMAND = ("--preset", "smoke", "--methods", "base,tent", "--device", "cpu")
TABLES = ("rows.parquet", "statistics.parquet", "totals.parquet", "losses.parquet")
SAME, NAMED, TRACEBACK, OTHER = "same", "named", "traceback", "other results without a message"


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start `ttt-bench` with these arguments."""
    return subprocess.Popen(
        [sys.executable, "-m", "ttt_bench.cli.main", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def content(results: Path) -> dict[str, bytes]:
    """Return name -> bytes of everything stored but history."""
    files = [path for path in (results / "cells").rglob("*") if path.is_file()]
    kept = [path for path in files if path.name != "attempts.json"]
    kept += (results / "checkpoints").glob("*.safetensors")
    return {str(path.relative_to(results)): path.read_bytes() for path in kept}


def attempts(results: Path) -> list[int]:
    """Return the number of attempts at every cell."""
    paths = (results / "cells").rglob("attempts.json")
    return [len(json.loads(path.read_text())["attempts"]) for path in paths]


def equal_runs(folder: Path, calm: dict[str, bytes], number: int) -> None:
    """Start equal commands at once; each cell must be computed once, and none may fail."""
    results = folder / f"equal-{number}"
    runs = [start("run", *COMMAND, "--results", str(results)) for _ in range(number)]
    messages = [run.communicate()[1] for run in runs]
    waited = sum("waiting for" in message for message in messages)
    print(
        f"{number} equal runs: exit codes {[run.returncode for run in runs]}, attempts per cell "
        f"{attempts(results)}, {waited} waited, equal to the calm run: {content(results) == calm}"
    )


def killed_runs(folder: Path, calm: dict[str, bytes], kills: int, draw: random.Random) -> None:
    """Kill a run again and again at random moments, then finish it."""
    results = folder / "killed"
    for _ in range(kills):
        run = start("run", *COMMAND, "--results", str(results))
        time.sleep(draw.uniform(2, 9))
        run.send_signal(draw.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGHUP]))
        run.communicate()
    run = start("run", *COMMAND, "--results", str(results))
    message = run.communicate()[1]
    left = [path.name for path in results.rglob(".*") if path.name != ".claims"]
    print(
        f"{kills} kills: exit code {run.returncode}, equal to the calm run: "
        f"{content(results) == calm}, files left over: {left} {message[-200:] if left else ''}"
    )


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def zero(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    first = draw.randrange(len(data))
    length = min(draw.choice([16, 512, 4096]), len(data) - first)
    data[first : first + length] = bytes(length)
    path.write_bytes(data)


def swap(path: Path, draw: random.Random) -> None:
    others = [other for other in path.parents[2].rglob(f"*{path.suffix}") if other != path]
    if others:
        path.write_bytes(draw.choice(sorted(others)).read_bytes())


DAMAGES: dict[str, Callable[[Path, random.Random], object]] = {
    "flipped bit": flip,
    "zeros": zero,
    "swapped": swap,
    "cut": lambda path, draw: os.truncate(path, draw.randrange(path.stat().st_size)),
    "empty": lambda path, draw: os.truncate(path, 0),
    "text": lambda path, draw: path.write_text(draw.choice(["[]", "7", "null", "{}", "no"])),
    "missing": lambda path, draw: path.unlink(),
}


def call(*arguments: str) -> tuple[int, str]:
    """Run a command in a forked child, which has everything imported; return code and output."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        from ttt_bench.cli import output
        from ttt_bench.cli.main import main

        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.close(reader)
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.FileIO(n, "w"), write_through=True) for n in (1, 2)
        )
        output.stderr.file, output.stdout.file = sys.stderr, sys.stdout
        sys.argv = ["ttt-bench", *arguments]
        code = 1
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException as error:
            print(f"Traceback {type(error).__name__}: {error}", flush=True)
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader, errors="replace") as pipe:
        text = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def outcome(text: str, unchanged: bool, names: tuple[str, ...]) -> str:
    if "Traceback" in text:
        return TRACEBACK
    if any(name in text for name in names) and ("damaged" in text or "error:" in text):
        return NAMED
    return SAME if unchanged else OTHER


def damaged_files(folder: Path, calm: dict[str, bytes], damages: int, draw: random.Random) -> None:
    """Damage one file at a time, then make the report and run again."""
    whole, counts = folder / "calm", {"report": Counter(), "run": Counter()}
    reference = report_tables(whole, folder / "calm-report")[1]
    cache = Path(os.environ["TTT_BENCH_CACHE"])
    for number in range(damages):
        results = folder / f"damaged-{number}"
        shutil.copytree(whole, results)
        files = [
            path for path in results.rglob("*") if path.is_file() and ".claims" not in path.parts
        ]
        rooms = [
            path for path in cache.rglob("*") if path.is_file() and ".claims" not in path.parts
        ]
        path = draw.choice(sorted(draw.choice([files, files, rooms])))
        kind = draw.choice(sorted(DAMAGES))
        DAMAGES[kind](path, draw)
        again = path in rooms or "checkpoints" in path.parts
        if again:  # these files are read only by a run that computes
            shutil.rmtree(results / "cells")
        else:
            text, tables = report_tables(results, folder / "report")
            found = outcome(text, tables == reference, (path.name, path.parent.name))
            counts["report"][found] += 1
            show(found, "report", kind, path, text)
        code, text = call("run", *COMMAND, "--results", str(results))
        cells = {name: data for name, data in calm.items() if name.startswith("cells/")}
        same = cells.items() <= content(results).items()  # a checkpoint may not have been needed
        found = outcome(text, same and code == 0, (path.name, path.parent.name))
        if found == NAMED and not (same and code == 0):
            found = "named, not repaired"
        counts["run"][found] += 1
        show(found, "run", kind, path, text)
        shutil.rmtree(results)
    for command, found in counts.items():
        print(f"{damages} damaged files, {command}: {dict(found)}")


def show(found: str, command: str, kind: str, path: Path, text: str) -> None:
    if found not in (SAME, NAMED):
        print(f"  {command}: {kind} in {path}: {found}\n    {text[-400:]}")


def report_tables(results: Path, out: Path) -> tuple[str, dict[str, bytes]]:
    """Write a report; return its output and its main tables."""
    shutil.rmtree(out, ignore_errors=True)
    _, text = call("report", "--results", str(results), "--out", str(out))
    return text, {path.parent.name: path.read_bytes() for path in out.rglob("main.csv")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    for name, default in (("seed", 0), ("kills", 5), ("damages", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    folder, draw = options.folder.absolute(), random.Random(options.seed)
    folder.mkdir(parents=True)
    os.environ |= {"TTT_BENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    assert start("run", *COMMAND, "--results", str(folder / "calm")).communicate() is not None
    calm = content(folder / "calm")
    for number in (2, 4):
        equal_runs(folder, calm, number)
    killed_runs(folder, calm, options.kills, draw)
    from ttt_bench.report import render
    from ttt_bench.sweep import runner

    with contextlib.suppress(Exception):
        import torch

        torch.set_num_threads(1)
    assert render, runner
    damaged_files(folder, calm, options.damages, draw)


if __name__ == "__main__":
    main()
