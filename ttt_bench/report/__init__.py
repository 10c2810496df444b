"""From stored rows to tables, figures and pages; imports no torch."""
