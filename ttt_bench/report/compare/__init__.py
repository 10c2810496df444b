"""The report of a comparison of rows: what may be claimed, tables, and records."""
