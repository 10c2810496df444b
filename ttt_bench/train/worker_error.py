"""An error of another process, in the form in which it reaches this process."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from ttt_bench.errors import BenchError, DataError, DivergedError
from ttt_bench.util.code.error_place import describe


@dataclass(frozen=True, kw_only=True)
class WorkerError:
    """An error of a process that decodes images or trains.

    PyTorch would put that process's whole traceback into the error's message.

    Attributes:
        message: one line.
        traceback: the traceback of the process.
        damaged: whether the data are to blame, and not the code that reads them.
        diverged_at: the iteration at which the training diverged; None for another error.
    """

    message: str
    traceback: str
    damaged: bool
    diverged_at: int | None

    @classmethod
    def of(cls, error: Exception, plugin: type | None = None) -> WorkerError:
        """Return the form of an error that is being handled.

        Args:
            error: the error.
            plugin: the class of the plugin whose line of code the message names, if any.
        """
        return cls(
            message=describe(error, plugin),
            traceback=traceback.format_exc(),
            damaged=isinstance(error, DataError),
            diverged_at=error.step if isinstance(error, DivergedError) else None,
        )

    def error(self) -> BenchError:
        """Return the error to raise; its notes contain the traceback of the process."""
        error = self._error()
        error.add_note(self.traceback)
        return error

    def _error(self) -> BenchError:
        if self.diverged_at is not None:
            return DivergedError(self.message, self.diverged_at)
        return (DataError if self.damaged else BenchError)(self.message)
