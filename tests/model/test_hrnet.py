"""HRNets for images of any size."""

from __future__ import annotations

import timm
import torch
from torch import nn

from ttt_bench.model.hrnet import take_any_size


def backbone() -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = timm.create_model(
        "hrnet_w18_small", features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
    )
    return made.eval()


def test_sizes_that_timm_takes_give_its_numbers_and_others_work() -> None:
    own, ours = backbone(), backbone()
    take_any_size(ours)
    images = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        for expected, found in zip(own(images), ours(images), strict=True):
            assert torch.equal(expected, found)
        sizes = [tuple(stage.shape[-2:]) for stage in ours(torch.rand(1, 3, 40, 72))]
    assert sizes == [(10, 18), (5, 9), (3, 5), (2, 3)]


def test_a_coarser_branch_is_enlarged_from_the_first_pixel() -> None:
    ours = backbone()
    take_any_size(ours)
    module = next(m for m in ours.modules() if hasattr(m, "fuse_layers"))
    branches = [torch.rand(1, width, 5 - 2 * n, 7 - 3 * n) for n, width in enumerate((16, 32))]
    maps = [branch(one) for branch, one in zip(module.branches, branches, strict=True)]
    sent = module.fuse_layers[0][1](maps[1])  # enlarged from 3x4 to 6x8
    assert sent.shape[-2:] == (6, 8)
    expected = (maps[0] + sent[..., :5, :7]).relu()
    torch.testing.assert_close(module(branches)[0], expected)
