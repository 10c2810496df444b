"""The entry point: one application, and one place where errors become messages."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, Any

import typer

from ttt_bench import __version__
from ttt_bench.cli import data, listings, sweep
from ttt_bench.cli.output import stderr
from ttt_bench.errors import BenchError

USAGE_ERROR = 2
INTERRUPTED = 130

app = typer.Typer(
    name="ttt-bench",
    help="Compare test-time training and adaptation methods on multi-task dense prediction.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(sweep.run)
app.command("report")(sweep.report)
app.command("train")(sweep.train)
app.command("params")(listings.params)
app.add_typer(listings.methods, name="methods")
app.add_typer(listings.pairs, name="pairs")
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ttt-bench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake ends with one message and exit code 2."""
    # threads that wait must not spin for long: beside another busy program that makes a step ten
    # times slower
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # a cluster's polite kill should leave a resumable run, as Ctrl-C does
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code: Any = app(standalone_mode=False)
    except BenchError as error:
        _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        # typer's usage errors; their class lives in click or in typer, depending on the version
        if not hasattr(error, "format_message"):
            raise
        _fail(error.format_message())
    if (
        code == INTERRUPTED
    ):  # typer turns Ctrl-C into this code in some versions, and passes it on in others
        stderr.print("interrupted; the same command goes on from here")
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    for line in message.splitlines():
        stderr.print(f"error: {line}", markup=False, style="red")
    sys.exit(USAGE_ERROR)


if __name__ == "__main__":
    main()
