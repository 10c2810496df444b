"""The generated pages of the reference."""

from __future__ import annotations

from site_pages import choices, command_line, methods, published, python_api, settings


def pages() -> dict[str, str]:
    """Return every generated page: path on the site -> Markdown."""
    return {
        "reference/command-line.md": command_line.page(),
        "reference/settings.md": settings.page(),
        "reference/choices.md": choices.page(),
        "reference/published.md": published.page(),
        **methods.pages(),
        **python_api.pages(),
    }
