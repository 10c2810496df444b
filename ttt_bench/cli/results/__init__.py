"""`results`: commands that check, join, pack and tidy results folders."""

from __future__ import annotations

import typer

from ttt_bench.cli.results.export import export
from ttt_bench.cli.results.gc import gc
from ttt_bench.cli.results.merge import merge
from ttt_bench.cli.results.verify import verify

app = typer.Typer(help="Verify, merge, export and clean results folders.", no_args_is_help=True)
for command in (verify, merge, export, gc):
    app.command()(command)
