"""Sessions: tests, lowest, newest, slow, slurm, browser, latex, faults, lint, types, docs,
docs-code, minimal, package, sbom, scale, demo, example.

`nox -s NAME` runs one. With `uv`, environments are made in seconds instead of minutes.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "uv|virtualenv"

SUITE = ("pip", "-e", ".[dev]")
"""What the test suite needs; some tests install packages with pip, which uv leaves out."""
PYTEST = ("python", "-m", "pytest")
PARALLEL = (*PYTEST, "-n", "2", "--dist", "loadfile")


def _require(session: nox.Session, *programs: str) -> None:
    """Install the session's system packages if programs are missing; skip it if they still are."""
    if not all(map(shutil.which, programs)):
        command = ("bash", ".ci/packages", session.name)
        session.run(*command, external=True, success_codes=range(256), silent=True)
    if missing := [name for name in programs if shutil.which(name) is None]:
        session.skip(f"not installed: {', '.join(missing)}; .ci/packages cannot install it here")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the test suite."""
    session.install(*SUITE)
    session.run(*PARALLEL, *session.posargs)


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Run the test suite with the lowest version of every direct dependency; needs `uv`."""
    session.install("pip")  # not its lowest version
    session.install("--resolution", "lowest-direct", "-e", ".[dev]")
    session.run(*PYTEST, *session.posargs)


@nox.session(venv_backend="uv")
def newest(session: nox.Session) -> None:
    """Run the test suite with the newest version of every dependency; needs `uv`."""
    session.install("--upgrade", *SUITE)
    session.run(*PARALLEL, *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that the suite leaves out: more methods, pairs, protocols and backbones."""
    session.install(*SUITE)
    session.run(*PYTEST, "-m", "slow", *session.posargs)


@nox.session(venv_backend="none")
def slurm(session: nox.Session) -> None:
    """Test the launcher `slurm` on a cluster that the tests start on this machine.

    It needs root, and Debian or a relative of it: it installs Slurm from the system's packages if
    it is missing. The tests run in the environment that nox itself runs in.
    """
    _require(session, "slurmctld")
    tests = (sys.executable, "-m", "pytest", "-m", "slurm", "-n", "0", "tests/sweep/launchers")
    session.run(*tests, *session.posargs, external=True, env={"OMP_NUM_THREADS": "1"})


@nox.session(venv_backend="none")
def browser(session: nox.Session) -> None:
    """Test the page of a report in Chromium; keep screenshots in `screenshots/`.

    It installs Chromium from Debian's packages if it is missing, which needs root. The tests run
    in the environment that nox itself runs in. `nox -s browser -- -k made` tests the small page
    alone. `TTT_BENCH_SCREENSHOTS` names another folder.
    """
    _require(session, "chromium", "pdftotext")
    tests = (sys.executable, "-m", "pytest", "-m", "browser", "-n", "0", "tests/report/browser")
    screenshots = os.environ.get("TTT_BENCH_SCREENSHOTS", "screenshots")
    session.run(*tests, *session.posargs, external=True, env={"TTT_BENCH_SCREENSHOTS": screenshots})


@nox.session(venv_backend="none")
def latex(session: nox.Session) -> None:
    """Set the tables of reports with pdflatex in a two-column document like those of CVPR.

    As root on Debian it installs TeX from the system's packages if it is missing: 53 MB, about 45
    CPU seconds. The tests run in the environment that nox itself runs in. All of them take about a
    minute; `nox -s latex -- -k short` sets the largest main and synchronisation tables in seconds.
    """
    _require(session, "pdflatex")
    tests = (sys.executable, "-m", "pytest", "-m", "tex", "-n", "0", "tests/report")
    session.run(*tests, *session.posargs, external=True, env={"OMP_NUM_THREADS": "1"})


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
def docs(session: nox.Session) -> None:
    """Build the documentation site into build/site; warnings and broken links are errors.

    It also validates CITATION.cff.

    Arguments are those of `mkdocs build`.
    """
    session.install("-e", ".[docs]", "cffconvert")
    session.run("cffconvert", "--validate")
    session.run(
        *("mkdocs", "build", "--strict", *session.posargs), env={"NO_MKDOCS_2_WARNING": "1"}
    )


@nox.session(name="docs-code")
def docs_code(session: nox.Session) -> None:
    """Run the code blocks of the pages that train source models; the suite runs the others."""
    session.install(*SUITE)
    session.run(*PYTEST, "-m", "slow", "tests/docs", *session.posargs)


@nox.session
def minimal(session: nox.Session) -> None:
    """Run and report all methods on the smallest preset, installed without any extra."""
    session.install(".")
    results, reports = f"{session.create_tmp()}/results", f"{session.create_tmp()}/report"
    session.run("ttt-bench", "run", "--methods", "all", "--preset", "smoke", "--results", results)
    session.run("ttt-bench", "report", "--results", results, "--out", reports)


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel and the source distribution, and run the wheel from an empty folder."""
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder)
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(folder / "dist"), ".")
    (wheel,) = (folder / "dist").glob("*.whl")
    session.install("--force-reinstall", "--no-deps", str(wheel))
    session.install(str(wheel))
    (folder / "empty").mkdir()
    session.chdir(folder / "empty")
    session.run("ttt-bench", "methods", "list")
    session.run(*("ttt-bench", "run", "--methods", "all", "--preset", "smoke", "--results", "run"))
    session.run(*("ttt-bench", "report", "--results", "run", "--out", "report"))
    session.run(*("ttt-bench", "results", "verify", "run"))


@nox.session
def sbom(session: nox.Session) -> None:
    """List what is installed with its licences: dist/sbom.json (CycloneDX) and dist/licences.md."""
    session.install("cyclonedx-bom", "pip-licenses")
    inner = Path(session.create_tmp()).resolve() / "installed"
    session.run("python", "-m", "venv", str(inner))
    python = str(inner / "bin" / "python")
    session.run(python, "-m", "pip", "install", "-q", *(session.posargs or ["."]), external=True)
    Path("dist").mkdir(exist_ok=True)
    session.run(
        *("cyclonedx-py", "environment", python, "--pyproject", "pyproject.toml"),
        *("--output-reproducible", "--output-format", "JSON", "--output-file", "dist/sbom.json"),
    )
    session.run(
        *("pip-licenses", f"--python={python}", "--format=markdown", "--with-urls"),
        *("--output-file", "dist/licences.md"),
    )


@nox.session
def scale(session: nox.Session) -> None:
    """Measure planning, sharing and reading of sweeps of 1,000 to 100,000 cells; takes hours.

    Arguments are those of `benchmarks/scale.py`, such as `nox -s scale -- --cells 1000`.
    """
    session.install("-e", ".")
    given = ("--csv", "docs/numbers/scale.csv", *session.posargs)
    session.run("python", "benchmarks/scale.py", "results/scale", *given)


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
