"""Packages of the optional extra `[data]`, imported where they are needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ttt_bench.errors import DataError

_PACKAGES = {"skimage": "scikit-image"}  # where the package's name is not the module's


def optional(module: str, purpose: str) -> ModuleType:
    """A module of an optional package.

    Args:
        module: its dotted name.
        purpose: what needs it, as the subject of a sentence.

    Raises:
        DataError: it is not installed; names the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        package = _PACKAGES.get(top, top)
        raise DataError(
            f'{purpose} needs the package {package}, which cannot be imported ({error}): pip install "ttt-bench[data]"'
        ) from error
