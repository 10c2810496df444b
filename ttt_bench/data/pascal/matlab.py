"""Read MATLAB 5 files. Imports no torch."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from ttt_bench.data.images.files import read_bytes
from ttt_bench.errors import DataError
from ttt_bench.util.extras import import_optional


def variable(path: Path, name: str, *, structured: bool = False) -> Any:
    """Return a variable of a file.

    Args:
        path: the file.
        name: name of the variable.
        structured: return a structure as a dict, and an array of structures as a list of dicts.

    Raises:
        DataError: the file is missing, damaged or of another kind, or lacks the variable.
    """
    io = import_optional("scipy.io", "reading PASCAL-Context's labels (.mat)")
    raw = BytesIO(read_bytes(path))
    try:
        content = io.loadmat(raw, variable_names=[name], simplify_cells=structured)
    except Exception as error:  # scipy and zlib raise various errors for damaged files
        raise DataError(f"{path}: not a MATLAB 5 file, or truncated ({error})") from error
    if name not in content:
        raise DataError(f"{path}: has no variable {name}")
    return content[name]
