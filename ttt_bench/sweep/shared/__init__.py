"""The work of a sweep as units that any number of processes share."""
