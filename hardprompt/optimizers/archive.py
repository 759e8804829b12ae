"""An archive of prompts of which none dominates another, and the front of a run."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hardprompt.optimizers.candidate import Candidate
from hardprompt.prompt import HardPrompt
from hardprompt.stats.pareto import non_dominated

MAX_MEMBERS = 12
"""A recorded front has the members that are best at some weight, and others up to this number."""


@dataclass(frozen=True)
class Member:
    """A prompt of an archive, with its values on dev.

    Attributes:
        ids: the token ids.
        loss: task loss in nats per example, plus the length weight x tokens.
        nll: prompt NLL, nats per token.
        accuracy: a fraction.
    """

    ids: tuple[int, ...]
    loss: float
    nll: float
    accuracy: float

    def objective(self, weight: float) -> float:
        """Loss + weight x prompt NLL, in nats."""
        return self.loss + weight * self.nll

    def dominates(self, other: "Member") -> bool:
        """Whether it is at least as good in loss, NLL and accuracy."""
        return self.loss <= other.loss and self.nll <= other.nll and self.accuracy >= other.accuracy


class Archive:
    """Prompts of which none is at least as good as another in task loss, prompt NLL and accuracy.

    Attributes:
        members: the prompts, in the order of their admission.
        seen: all prompts that were added, whether they were admitted or not.
    """

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.seen: set[tuple[int, ...]] = set()

    def add(self, candidate: Member) -> bool:
        """Admit a prompt unless a member dominates it, and drop the members that it dominates; whether it was admitted."""
        self.seen.add(candidate.ids)
        if any(member.dominates(candidate) for member in self.members):
            return False
        self.members = [member for member in self.members if not candidate.dominates(member)] + [candidate]
        return True

    def best(self, weight: float, count: int = 1) -> list[Member]:
        """The members with the lowest objectives at a weight, the lowest first."""
        return sorted(self.members, key=lambda member: member.objective(weight))[:count]

    def leaders(self, weights: Iterable[float]) -> list[Member]:
        """The best member at each weight, each member once."""
        return list(dict.fromkeys(self.best(weight)[0] for weight in weights)) if self.members else []


def as_member(candidate: Candidate) -> Member | None:
    """A hard prompt that was scored on dev as a member; None for a soft prompt, and for one without an NLL."""
    if not isinstance(candidate.prompt, HardPrompt) or candidate.prompt_nll != candidate.prompt_nll:
        return None
    loss = candidate.dev_task_loss + candidate.length_cost
    return Member(candidate.prompt.ids, loss, candidate.prompt_nll, candidate.dev_accuracy)


@dataclass(frozen=True)
class FrontMember:
    """A member of the front of a run.

    Attributes:
        candidate: the prompt, with its values on dev.
        weight_range: the fluency weights (low, high) at which it has the lowest objective on dev; None if there are none.
        weight: the lowest weight at which its objective comes closest to the lowest one.
    """

    candidate: Candidate
    weight_range: tuple[float, float] | None
    weight: float


def front_of(candidates: Sequence[Candidate]) -> list[FrontMember]:
    """The front of the hard prompts that a run scored on dev: the best one at weight 0, then the others by falling NLL.

    These are the prompts that are best at some weight, and, up to `MAX_MEMBERS`, those that no other prompt dominates in
    (accuracy, NLL), evenly spread. Prompts without an NLL are left out.
    """
    unique = {member.ids: (candidate, member) for candidate in candidates if (member := as_member(candidate))}
    members = [member for _, member in unique.values()]
    ranges = weight_ranges(members)
    best = [i for i, each in enumerate(ranges) if each]
    others = [i for i in non_dominated([m.accuracy for m in members], [m.nll for m in members]) if not ranges[i]]
    room = max(0, MAX_MEMBERS - len(best))
    if len(others) > room:
        others = [others[round((k + 0.5) * len(others) / room - 0.5)] for k in range(room)]
    lowest = min(best, key=lambda i: ranges[i] or (math.inf, math.inf), default=None)
    found = sorted([*best, *others], key=lambda i: (i != lowest, -members[i].nll))
    lows = sorted((members[i].nll, each[0]) for i, each in enumerate(ranges) if each)[::-1]
    weights = [next((low for nll, low in lows if nll <= member.nll), lows[-1][1]) for member in members]
    kept = [candidate for candidate, _ in unique.values()]
    return [FrontMember(kept[i], ranges[i], weights[i]) for i in found]


def weight_ranges(members: Sequence[Member]) -> list[tuple[float, float] | None]:
    """The range of weights at which each member has the lowest objective, (low, high); None if there is no such weight.

    The objectives are lines in the weight, with the loss at 0 and the NLL as slope, so the members with a range are those on
    the lower convex hull of (NLL, loss). Of equal members only the first has one. The last range ends at infinity.

    Example:
        >>> members = [Member((1,), 0.2, 8.0, 0.9), Member((2,), 0.9, 1.0, 0.5), Member((3,), 0.8, 7.0, 0.9)]
        >>> [each and (round(each[0], 3), round(each[1], 3)) for each in weight_ranges(members)]
        [(0.0, 0.1), (0.1, inf), None]
    """
    found: list[tuple[float, float] | None] = [None] * len(members)
    weight = 0.0
    current = min(range(len(members)), key=lambda i: (members[i].loss, members[i].nll, i), default=None)
    while current is not None:
        here = members[current]
        crossings = {
            i: (other.loss - here.loss) / (here.nll - other.nll) for i, other in enumerate(members) if other.nll < here.nll
        }
        following = min(crossings, key=lambda i: (crossings[i], members[i].nll, i), default=None)
        end = float("inf") if following is None else max(crossings[following], weight)
        if end > weight or following is None:
            found[current] = (weight, end)
        weight, current = end, following
    return found
