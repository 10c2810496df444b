"""The entry point `ttt-bench`: the application, and the printing of errors."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ttt_bench import __version__
from ttt_bench.cli import methods, networks, results, study
from ttt_bench.cli.compare import compare
from ttt_bench.cli.datasets import data, pairs
from ttt_bench.cli.output import stderr
from ttt_bench.cli.params import params
from ttt_bench.cli.report import report, show_report
from ttt_bench.cli.reproduce import reproduce
from ttt_bench.cli.run import run
from ttt_bench.cli.time import time_methods
from ttt_bench.cli.train import train
from ttt_bench.cli.tune import tune
from ttt_bench.cli.work import work
from ttt_bench.errors import BenchError
from ttt_bench.util.code.commit import running_commit
from ttt_bench.util.interrupts import ignore_signals, stop_on_signals
from ttt_bench.util.os_errors import (
    advice,
    cause,
    is_out_of_memory,
    out_of_memory,
    unusable,
)

USAGE_ERROR = 2
INTERRUPTED = 130
_STANDARD_ERROR = 2

app = typer.Typer(
    name="ttt-bench",
    help="Benchmark test-time training and test-time adaptation on multi-task dense prediction.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run)
app.command("reproduce")(reproduce)
app.command("report")(report)
app.command("show")(show_report)
app.command("compare")(compare)
app.command("tune")(tune)
app.command("train")(train)
app.command("params")(params)
app.command("time")(time_methods)
app.command("work", hidden=True)(work)
app.add_typer(methods.app, name="methods")
app.add_typer(networks.app, name="networks")
app.add_typer(pairs.app, name="pairs")
app.add_typer(study.app, name="study")
app.add_typer(data.app, name="data")
app.add_typer(results.app, name="results")


def _version(wanted: bool) -> None:
    if wanted:
        commit = running_commit()
        print(f"ttt-bench {__version__}" + (f" (commit {commit})" if commit else ""))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the version, and the commit if it is known.",
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and exit the process.

    A `BenchError` or a usage error ends with one message and exit code 2, an interrupt with 130.
    """
    # waiting threads spin briefly only: with other programs on the cores, long spinning makes a
    # step ten times slower
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # figures are written to files; a backend that a notebook names may not be installed here
    os.environ["MPLBACKEND"] = "agg"
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # a file or pipe on Windows may not have signs such as an arrow
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    stop_on_signals()
    try:
        code: Any = app(standalone_mode=False)
        sys.stdout.flush()
    except BenchError as error:
        _fail(str(error))
    except (KeyboardInterrupt, typer.Abort) as stop:
        if isinstance(stop.__cause__, EOFError):
            raise stop.__cause__ from None  # click takes it for the end of the input
        code = INTERRUPTED
    except OSError as error:
        if error.filename is not None:
            _fail(str(unusable(error)))
        _discard_output()
        _fail(f"the output cannot be written ({cause(error, Path())}); {advice(error)}")
    except Exception as error:
        if is_out_of_memory(error):
            _fail(out_of_memory(error))
        # usage errors of typer; their class is in click or in typer, depending on the version
        if not hasattr(error, "format_message"):
            raise
        _fail(error.format_message())
    # some versions of typer return this code after Ctrl-C, others raise
    if code == INTERRUPTED:
        ignore_signals()
        with suppress(OSError):  # the terminal may be closed
            stderr.print("interrupted; run the same command again to finish")
    sys.exit(code if isinstance(code, int) else 0)


def _open_closed_streams() -> None:
    """Connect outputs that the caller has closed (`>&-`) to the null device.

    Otherwise a file of results would get the number of the output, and what is printed with it.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _discard_output() -> None:
    """Send what is left of the output nowhere, so that the process ends without a second error."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> None:
    for line in message.splitlines():
        stderr.print(f"error: {line}", markup=False, style="red")
    sys.exit(USAGE_ERROR)


if __name__ == "__main__":
    main()
