"""Division of a data set into evaluation batches."""

from __future__ import annotations


def split_batches(images: int, size: int) -> list[list[int]]:
    """Return consecutive indices in batches; a last batch of one image joins the previous one.

    Batches of `size` 1 stay apart.

    >>> split_batches(9, 4)
    [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    """
    batches = [list(range(start, min(start + size, images))) for start in range(0, images, size)]
    if size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] += last
    return batches
