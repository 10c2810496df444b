"""Formats of a table: Markdown, LaTeX, CSV, HTML and rich text for a console."""
