"""The parts of a comparison's section: tables and figures with their words and files."""
