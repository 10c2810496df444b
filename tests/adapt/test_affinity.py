"""The affinity of tasks, against hand-worked numbers and its first-order approximation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ttt_bench.adapt.affinity import affinity, step_size
from ttt_bench.network import Batch


class Linear(nn.Module):
    """Two tasks that read one shared vector w of two values: a . w and b . w."""

    def __init__(self, a: tuple[float, float], b: tuple[float, float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([3.0, 4.0]))
        self.register_buffer("seen", torch.zeros(()))
        self.heads = {"a": torch.tensor(a).double(), "b": torch.tensor(b).double()}


def losses(network: Linear, batch: Batch) -> dict[str, torch.Tensor]:
    network.seen += 1
    return {task: (head @ network.w - 1) ** 2 for task, head in network.heads.items()}


def measured(network: Linear, step: float) -> torch.Tensor:
    batch = Batch(torch.zeros(1), {})
    return affinity(network, [batch], losses=losses, shared=lambda own: [own.w], step=step)


def test_two_linear_tasks_by_hand():
    # |w| = 5. a = (1, 0): L_a = (3 - 1)^2 = 4, gradient (4, 0), a step of 0.1 * 5 along (1, 0):
    # L_a = 1.5^2 = 2.25, and L_b of b = (0, 1) stays. b: L_b = 9, then 2.5^2 = 6.25.
    found = measured(Linear((1, 0), (0, 1)), 0.1)
    torch.testing.assert_close(
        found, torch.tensor([[1 - 2.25 / 4, 0.0], [0.0, 1 - 6.25 / 9]]).double()
    )


def test_opposed_tasks_raise_each_others_loss():
    # a = (1, 0) pulls w_1 down; b = (-1, 0) has L_b = (-3 - 1)^2 = 16 and pulls it down as well;
    # b = (0.1, 0) has L_b = (0.3 - 1)^2 = 0.49 and pulls it up
    assert measured(Linear((1, 0), (-1, 0)), 0.01)[0, 1] > 0
    assert measured(Linear((1, 0), (0.1, 0)), 0.01)[0, 1] < 0


def test_equal_tasks_have_equal_entries():
    found = measured(Linear((1, 2), (1, 2)), 0.01)
    torch.testing.assert_close(found, found[0, 0].expand(2, 2))


def test_small_steps_agree_with_the_first_order():
    network = Linear((1, 0.5), (0.3, 1))
    w = torch.tensor([3.0, 4.0]).double()
    residuals = {task: head @ w - 1 for task, head in network.heads.items()}
    gradients = {task: 2 * residuals[task] * head for task, head in network.heads.items()}
    rate = step_size([w], [gradients["a"]], 1e-6)
    first_order = rate * (gradients["a"] @ gradients["b"]) / residuals["b"] ** 2
    assert float(measured(network, 1e-6)[0, 1]) == pytest.approx(float(first_order), rel=1e-4)


def test_the_network_is_unchanged_bit_for_bit():
    network = Linear((1, 0.5), (0.3, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measured(network, 0.1)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert network.w.dtype is torch.float32


def test_a_task_without_loss_has_no_affinity():
    found = measured(Linear((0.25, 0.0625), (1, 0)), 0.1)  # a . w = 1 exactly
    assert found.isnan().tolist() == [[True, True], [True, False]]
