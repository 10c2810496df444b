"""What a report is about: the content of results folders, and what of it is shown."""
