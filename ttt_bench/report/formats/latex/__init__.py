"""Tables as LaTeX that fit a page of a two-column paper (`layout`, `pages`, `table`)."""
