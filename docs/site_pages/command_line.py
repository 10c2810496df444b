"""The page of all commands and options, from the application."""

from __future__ import annotations

import html
import re
import subprocess
import sys

from ttt_bench.cli.main import app


def page() -> str:
    """Return the page in Markdown."""
    command = (sys.executable, "-m", "typer", "ttt_bench.cli.main", "utils", "docs")
    done = subprocess.run(
        (*command, "--name", "ttt-bench"), capture_output=True, text=True, check=True
    )
    text = html.unescape(done.stdout).replace("# `ttt-bench`", "# Command line", 1)
    return _linked(_without_hidden(text)).replace("\n* `--help`: Show this message and exit.", "")


def _without_hidden(text: str) -> str:
    """Remove the commands that `--help` does not list."""
    for name in (command.name for command in app.registered_commands if command.hidden):
        text = re.sub(rf"^\* `{name}`:.*\n", "", text, flags=re.MULTILINE)
        text = re.sub(rf"^## `ttt-bench {name}`\n.*?(?=^## |\Z)", "", text, flags=re.M | re.S)
    return text


def _linked(text: str) -> str:
    """Replace the lists of commands, whose texts are cut, by links to the commands."""
    sections = re.split(r"(?=^#{2,} `(?:.*)`$)", text, flags=re.MULTILINE)
    return "".join(map(_with_links, sections))


def _with_links(section: str) -> str:
    found = re.match(r"#+ `(.*)`", section)
    parent = found[1] if found else "ttt-bench"
    head, title, commands = section.partition("**Commands**:")

    def link(line: re.Match[str]) -> str:
        name = f"{parent} {line[1]}"
        return f"* [`{name}`](#{name.replace(' ', '-')})"

    return head + title + re.sub(r"^\* `([\w-]+)`:.*$", link, commands, flags=re.MULTILINE)
