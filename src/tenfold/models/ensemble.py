"""Several networks that answer as one: a model like any other, so that whatever takes a network takes an ensemble."""

from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tenfold.models import AVERAGES, build
from tenfold.models.blocks import shifted

DIGITS = 10
LEAST = 1e-12  # of a probability, so that its logarithm is a number


class Ensemble(nn.Module):
    """The weighted average of its members' calibrated answers.

    members: a table each: `kind` and that model's own arguments, and besides `weight` (at least 0), `shifts` (averaged
    over shifts of up to so many pixels) and `temperature`.
    average: "probabilities" (their arithmetic mean), "logits" (the geometric mean, scaled to sum to 1), or "votes" (the
    share of the members, by weight, that name the digit).
    Gives (B, 10) logarithms of probabilities for (B, 1, 28, 28) inputs in [0, 1]: logits, with a sum of 1.
    """

    def __init__(self, members: list[dict[str, Any]], average: str = "probabilities") -> None:
        super().__init__()
        if not members:
            raise ValueError("members are none")
        if average not in AVERAGES:
            raise ValueError(f"average is '{average}', not one of {', '.join(AVERAGES)}")
        self.settings = [_Settings(member) for member in members]
        total = sum(each.weight for each in self.settings)
        if not total > 0:
            raise ValueError(f"the weights add up to '{total}', not to more than 0")
        self.average = average
        for each in self.settings:
            each.weight *= 1 / total
        self.members = nn.ModuleList(build(each.kind, each.arguments) for each in self.settings)

    def without_shifts(self) -> None:
        """Ask every member once an image from now on."""
        for each in self.settings:
            each.shifts = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithms of the probabilities, (B, 10)."""
        total = x.new_zeros(x.shape[0], DIGITS, dtype=torch.float32)
        for member, settings in zip(self.members, self.settings, strict=True):
            answer = settings.logarithms(member, x)
            if self.average == "votes":
                answer = F.one_hot(answer.argmax(1), DIGITS)
            elif self.average == "probabilities":
                answer = answer.exp()
            total = total + settings.weight * answer
        if self.average == "logits":
            return F.log_softmax(total, dim=1)
        return total.clamp_min(LEAST).log()


class _Settings:
    """How one member is built and asked."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.arguments = dict(table)
        self.kind: str = self.arguments.pop("kind")
        self.weight = float(self.arguments.pop("weight", 1.0))
        self.shifts = int(self.arguments.pop("shifts", 0))
        self.temperature = float(self.arguments.pop("temperature", 1.0))
        if self.kind == "ensemble":
            raise ValueError("a member is an ensemble itself")
        if not 0 <= self.weight < inf or not 0 < self.temperature < inf or not 0 <= self.shifts <= 3:
            numbers = f"the weight '{self.weight}', the temperature '{self.temperature}' and the shifts '{self.shifts}'"
            raise ValueError(f"a member has {numbers}")

    def logarithms(self, member: nn.Module, x: Tensor) -> Tensor:
        """Return the logarithms of the member's calibrated probabilities, (B, 10), averaged over the shifts."""
        moved = shifted(x, self.shifts)
        answers = F.softmax(member(torch.cat(moved))[:, :DIGITS].float(), dim=1)
        mean = answers.reshape(len(moved), -1, DIGITS).mean(0)
        return F.log_softmax(mean.clamp_min(LEAST).log() / self.temperature, dim=1)
