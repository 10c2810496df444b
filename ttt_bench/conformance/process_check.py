"""The check that a method leaves the process as it was."""

from __future__ import annotations

from ttt_bench.conformance.runs import outputs
from ttt_bench.conformance.subject import Subject
from ttt_bench.util.process import watched


def process(subject: Subject) -> None:
    """Building, training, binding and adapting change nothing that other methods share.

    Examples are the grad mode, the default dtype, hooks of all modules, and the code of layers.

    Raises:
        ProcessError: names the part of the method and the changes.
    """
    images = subject.images()
    session = subject.session()
    with watched(f"adapting with method {subject.method.name}"):
        outputs(session, images)
