"""Published rows of a method with other settings than its default ones, and of shifted targets."""

from __future__ import annotations

from dataclasses import dataclass

_SHARED = (
    "TR-TTT does not describe the projection of its model without task-specific latents; "
    "projection=shared has one latent of the same total width"
)
_MASKING = (
    "TR-TTT describes its maskings in a figure only; here the latents of hidden patches are set to "
    "0, except with masking=same"
)
_SINGLE = (
    "S4T's Table 5 has a network per task (tasks=single:NAME), and names the reversed pair in its "
    "header. TR-TTT's Table 8 prints the multi-task row in place of this one"
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A published ablation of a method.

    Attributes:
        note: the column `note` of its numbers, up to a semicolon.
        settings: the settings of the method that give it, as a results folder names them;
            `{task}` stands for the task of a number.
        remark: what the paper leaves open, for a note.
    """

    paper: str
    table: str
    note: str
    settings: str
    remark: str


def _ablation(table: str, note: str, settings: str, remark: str) -> Variant:
    return Variant(paper="TR-TTT", table=table, note=note, settings=settings, remark=remark)


VARIANTS = (
    _ablation("Table 3", "components=trl", "mask_ratio=0.0; projection=shared", _SHARED),
    _ablation("Table 3", "components=trl+tp", "mask_ratio=0.0", ""),
    _ablation(
        "Table 3", "components=trl+mask+image_recon", "projection=shared; target=image", _SHARED
    ),
    _ablation("Table 4", "masking=random", "masking=random", _MASKING),
    _ablation("Table 4", "masking=not_overlap", "masking=disjoint", _MASKING),
    Variant(
        paper="S4T",
        table="Table 5",
        note="adaptation=single_task",
        settings="tasks=single:{task}",
        remark=_SINGLE,
    ),
)
"""The published ablations that settings of a method reproduce.

The rows of TR-TTT's Table 3 with all components and of its Table 4 with `same_for_all` are the main
row, and the row without components is Base.
"""

WITHOUT_SETTINGS = {
    "masking=tasks": (
        "TR-TTT, Table 4 hides whole tasks (Delta_TTT 33.06 on taskonomy:nyud) but does not say "
        "how many, so no published number is shown for masking=tasks"
    )
}
"""Settings -> why the published number of a similar ablation is not shown for them."""

NOISE = ("S4T", "Table 2")
"""The table of Delta_TTT under Gaussian noise."""

_SHIFT, _ALPHA = "gaussian_noise@", "gaussian_noise_alpha="


def shift_note(shift: str) -> str | None:
    """Return the column `note` of a shift's numbers; None if nothing is published for it.

    Args:
        shift: a shift as pairs name it, such as `gaussian_noise@0.1`.
    """
    if not shift.startswith(_SHIFT):
        return None
    return f"{_ALPHA}{shift.removeprefix(_SHIFT)}"
