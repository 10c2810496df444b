"""Source training: schedules, the chain of stages, the trainer."""

from ttt_bench.train.schedule import cosine_lr, polynomial_lr

__all__ = ["cosine_lr", "polynomial_lr"]
