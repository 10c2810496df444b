"""The affinity of tasks, which uses labels of the target."""
