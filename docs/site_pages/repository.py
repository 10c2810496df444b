"""Pages that show files of the repository which are not in `docs`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from site_pages.links import FILE_OF, FILES, linked_files, place_of

ROOT = Path(__file__).resolve().parents[2]
REPORT = "reports/example"
"""The committed report, which is on the site as it is."""
_LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".json": "json"}


def pages(root: Path, generated: Mapping[str, str]) -> dict[str, str]:
    """Return the pages that show files outside `docs`: path on the site -> Markdown.

    They are the README and the like, and a page per file or folder that any page links to.

    Args:
        root: the repository.
        generated: the pages that are not files, path on the site -> Markdown.
    """
    named = {page: (root / path).read_text(encoding="utf-8") for page, path in FILE_OF.items()}
    written = {path.name: path.read_text(encoding="utf-8") for path in root.glob("docs/*.md")}
    linked = {
        path
        for page, text in {**named, **written, **generated}.items()
        for path in linked_files(text, page)
    }
    places = {place_of(path): path for path in linked}
    shown = {
        place: path
        for place, path in places.items()
        if place.startswith(f"{FILES}/") and place.endswith(".md")
    }
    files = {place: _shown(root, path) for place, path in shown.items() if (root / path).exists()}
    return {**named, **files}


def _shown(root: Path, path: str) -> str:
    """Return the page of a file, which shows its text, or of a folder, which lists its files."""
    file = root / path
    if file.is_dir():
        names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in file.iterdir())
        return f"# {path}\n\nFiles of this folder of the repository:\n\n" + "\n".join(
            f"- `{name}`" for name in names
        )
    text = file.read_text(encoding="utf-8")
    return f"# {path}\n\n````{_LANGUAGES.get(file.suffix, 'text')}\n{text}````\n"
