"""AdamW, step for step PyTorch's own, without what `torch.optim.AdamW` loads beside it.

The class loads PyTorch's compiler and Triton when it is made, which nothing here uses: about a second and 120 MB
in each process that fits. Worse, Triton brings an LLVM of its own; loaded into a process whose window already draws
with Mesa's, as napari's console is one, it ends that process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.optim.adamw import adamw

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["AdamW"]

BETAS = (0.9, 0.999)
"""Share that is kept of the gradient's and of its square's running mean, a step."""

EPSILON = 1e-8
"""Added to the root of the mean square before dividing by it."""


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019), with PyTorch's defaults.

    Parameters
    ----------
    parameters : iterable of torch.Tensor
        What is optimised, in place.
    weight_decay : float
        Share of the learning rate by which a step shrinks every parameter.

    Attributes
    ----------
    state : dict of torch.Tensor to dict of str to torch.Tensor
        Of each parameter its ``"step"`` (float32 scalar on the CPU), ``"exp_avg"`` and ``"exp_avg_sq"`` (as the
        parameter): all that the next step depends on.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], weight_decay: float) -> None:
        self.weight_decay = weight_decay
        self.state = {
            parameter: {
                "step": torch.zeros((), dtype=torch.float32),
                "exp_avg": torch.zeros_like(parameter, requires_grad=False),
                "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
            }
            for parameter in parameters
        }

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.state:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move every parameter that has a gradient."""
        moved = {p: moments for p, moments in self.state.items() if p.grad is not None}
        adamw(
            list(moved),
            [p.grad for p in moved if p.grad is not None],
            [moments["exp_avg"] for moments in moved.values()],
            [moments["exp_avg_sq"] for moments in moved.values()],
            [],
            [moments["step"] for moments in moved.values()],
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=learning_rate,
            weight_decay=self.weight_decay,
            eps=EPSILON,
            maximize=False,
        )
