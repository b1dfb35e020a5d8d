"""The optimisation: steps uphill, for many pictures at once."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnviz.ascent.parameterize import Canvas
from cnnviz.ascent.score import Scorer
from cnnviz.ascent.transforms import robust
from cnnviz.choices import Precision
from cnnviz.networks.precision import computing_in

# Adam's decay rates (Kingma, Ba, 2015). The pictures move at every step, so old gradients are of
# less use than usual: with 0.9 and 0.999 the scores after 64 steps are a fifth to a third lower.
_MEAN_DECAY, _SQUARE_DECAY = 0.5, 0.9
# Added to the root of the mean square, as a share of its own size over the picture, where Adam has
# a tiny constant: what hardly matters to the score then hardly moves, and noise stays out.
_FLOOR = 1.0
_TINY = 1e-30
# Towards the end, when details are settled, movements and steps shrink to these shares.
_LAST_STRENGTH, _LAST_RATE = 0.5, 0.2

OnStep = Callable[[int, Tensor], None]


@dataclass
class Climb:
    """Pictures on their way up.

    Attributes:
        scorer: Scores them.
        canvas: What the coefficients stand for.
        coefficients: One row per picture; they change with every step.
        steps: How many steps the whole way has.
        lr: Length of a step.
        draws: (steps, N, DRAWS) the movements of every step; None to hold the pictures still.
    """

    scorer: Scorer
    canvas: Canvas
    coefficients: Tensor
    steps: int
    lr: float
    draws: Tensor | None

    def __post_init__(self) -> None:
        self.stopped: list[int | None] = [None] * len(self.coefficients)
        self._mean = torch.zeros_like(self.coefficients)
        self._square = torch.zeros_like(self.coefficients)

    def run(self, on_step: OnStep) -> None:
        """Go all the way up; `on_step(steps done, scores)` is called after each step.

        A picture whose score or gradient is not finite stays as it is from there on, and
        `stopped` has the step.
        """
        for step in range(self.steps):
            scores, gradient = self._look(step)
            finite = scores.isfinite() & gradient.flatten(1).isfinite().all(dim=1)
            for i in (~finite).nonzero().flatten().tolist():
                self.stopped[i] = step if self.stopped[i] is None else self.stopped[i]
            self._move(step + 1, gradient, self.lr * self._falling(step, _LAST_RATE))
            on_step(step + 1, scores)

    def _falling(self, step: int, last: float) -> float:
        """Return a share that falls from one towards `last` in a straight line."""
        return 1 - (1 - last) * step / self.steps

    def _look(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the scores of the moved pictures, (N,), and their gradients."""
        coefficients = self.coefficients.detach().requires_grad_()
        half = computing_in(Precision.BF16, coefficients.device)
        with torch.enable_grad():
            pictures = self.canvas.decode(coefficients)
            shown = None
            if self.draws is not None:
                strength = self._falling(step, _LAST_STRENGTH)
                shown = robust(pictures, self.draws[step], strength)
            with half if self.scorer.fast else nullcontext():
                scores = self.scorer.scores(pictures, shown)
            return scores.detach(), self.scorer.slopes(scores, coefficients)

    def _move(self, count: int, gradient: Tensor, rate: float) -> None:
        """Make one step of Adam uphill, for the pictures that still climb."""
        climbing = torch.tensor([step is None for step in self.stopped], device=gradient.device)
        shape = (-1, *[1] * (gradient.ndim - 1))
        self._mean.lerp_(gradient, 1 - _MEAN_DECAY)
        self._square.lerp_(gradient.square(), 1 - _SQUARE_DECAY)
        mean = self._mean / (1 - _MEAN_DECAY**count)
        root = (self._square / (1 - _SQUARE_DECAY**count)).sqrt()
        floor = _FLOOR * root.flatten(1).square().mean(dim=1).sqrt().view(shape)
        move = (mean / (root + floor + _TINY)).where(climbing.view(shape), 0)
        # Up: every objective is a score to be maximised.
        self.coefficients.add_(move, alpha=rate)
