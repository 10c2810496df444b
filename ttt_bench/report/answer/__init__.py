"""The result of a comparison in two or three sentences, with numbers and intervals."""

from __future__ import annotations

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report.answer.facts import facts_of
from ttt_bench.report.answer.sentences import sentences


def answer(evidence: Evidence) -> tuple[str, ...]:
    """Return the result of a comparison in sentences.

    They follow the verdicts that bold numbers and ▼ show: a difference is called shown only if its
    interval excludes 0 after Holm's correction.
    """
    return sentences(facts_of(evidence))
