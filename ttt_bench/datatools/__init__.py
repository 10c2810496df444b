"""Check, prepare and show data; a run imports nothing from here."""
