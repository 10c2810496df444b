"""Tables and figures of a study of learning rates."""
