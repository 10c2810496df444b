"""Hooks of MkDocs: pages that are generated, and links to files of the repository."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from site_pages import links, navigation, reference, repository


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of `docs`, to the site and to the navigation."""
    generated = reference.pages()
    for path, text in {**generated, **repository.pages(repository.ROOT, generated)}.items():
        files.append(File.generated(config, path, content=text))
    page = f"{repository.REPORT}/index.html"
    source = str(repository.ROOT / page)
    files.append(File.generated(config, links.place_of(page), abs_src_path=source))
    config.nav = navigation.expanded(config.nav or [], generated)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Let links to files of the repository lead to their pages."""
    return links.rewritten(markdown, page.file.src_uri)


def on_post_build(*, config: MkDocsConfig) -> None:
    """Copy the files that the committed report links to."""
    own = Path(config.site_dir) / links.FILES / repository.REPORT
    shutil.copytree(repository.ROOT / repository.REPORT, own, dirs_exist_ok=True)
