"""Find images and labels that do not show the same scene: mixed up, mirrored or moved."""

from ttt_bench.datatools.check.agreement.findings import check_agreement

__all__ = ["check_agreement"]
