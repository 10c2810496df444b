"""Import packages of optional extras only when they are needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ttt_bench.errors import DataError

_PACKAGES = {"skimage": "scikit-image"}
"""Map a module to its package if the names differ."""


def import_optional(module: str, purpose: str, *, extra: str = "data") -> ModuleType:
    """Return a module of an optional package.

    Args:
        module: the dotted name of the module.
        purpose: the feature that needs it, as the subject of a sentence.
        extra: the extra that installs it.

    Raises:
        DataError: the package is not installed; the message gives the install command.
    """
    try:
        return import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        package = _PACKAGES.get(top, top)
        raise DataError(
            f"{purpose} needs the package {package}, which cannot be imported ({error}): "
            f'pip install "ttt-bench[{extra}]"'
        ) from error
