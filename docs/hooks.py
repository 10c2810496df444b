"""Hooks of MkDocs: pages that are generated, and links to files of the repository."""

from __future__ import annotations

from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from site_pages import links, repository


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of `docs`."""
    for path, text in repository.pages(repository.ROOT).items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Let links to files of the repository lead to their pages."""
    return links.rewritten(markdown, page.file.src_uri)
