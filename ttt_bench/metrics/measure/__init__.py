"""The measurement of each task on tensors."""
