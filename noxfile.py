"""Sessions: tests, lowest, slow, faults, lint, types, minimal (no extras), demo, example.

`nox -s NAME` runs one.
"""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True


@nox.session
def tests(session: nox.Session) -> None:
    """Run the test suite."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "pytest", "-n", "2", "--dist", "loadfile", *session.posargs)


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Run the test suite with the lowest version of every direct dependency; needs `uv`."""
    session.install("pip")  # some tests install packages
    session.install("--resolution", "lowest-direct", "-e", ".[dev]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that the suite leaves out: every method on more backbones."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "pytest", "-m", "slow", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Break runs and stored files at random (docs/faults.md); arguments are those of `faults`.

    It takes about an hour on one core.
    """
    session.install("-e", ".[dev]")
    session.run(
        *("python", "-m", "faults", *session.posargs),
        env={"PYTHONPATH": "tests", "OMP_NUM_THREADS": "1"},
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and the layers."""
    session.install("ruff", "import-linter")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", env={"PYTHONPATH": "."})


@nox.session
def types(session: nox.Session) -> None:
    """Check static types."""
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session
def minimal(session: nox.Session) -> None:
    """Run and report all methods on the smallest preset, installed without any extra."""
    session.install(".")
    results, reports = f"{session.create_tmp()}/results", f"{session.create_tmp()}/report"
    session.run("ttt-bench", "run", "--methods", "all", "--preset", "smoke", "--results", results)
    session.run("ttt-bench", "report", "--results", results, "--out", reports)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the embedded demonstration and make its report."""
    session.install(".")
    session.run(
        "ttt-bench", "run", "--methods", "all", "--pair", "rooms:rooms-mix", *session.posargs
    )
    session.run("ttt-bench", "report")


@nox.session
def example(session: nox.Session) -> None:
    """Remake the committed example, its report, and the tables of the pages.

    It takes about an hour and a half on two cores, and resumes. Arguments are stages, by default
    all: `nox -s example -- pages`.
    """
    session.install("-e", ".")
    session.run("python", "docs/make_example.py", "--work", "results/example-run", *session.posargs)
