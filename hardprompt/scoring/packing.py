"""Which rows go through the model together, so that little padding is computed."""

from collections.abc import Callable, Iterator, Sequence

PASS_TOKENS = 64
"""What a forward pass costs besides its tokens, in tokens."""


def packed(
    sizes: Sequence[tuple[int, int, int]], fits: Callable[[int, int, int, int], bool], by_length: bool = True
) -> Iterator[list[int]]:
    """Indices of (tail, head, reads) that go through the model together: as many as fit, of similar length if `by_length`.

    A pass costs its padded tokens and `PASS_TOKENS` more. `fits` is told the number of rows, their widest tail and head, and
    the most positions read of one.
    """
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    ends = cheapest_cuts([sizes[i][0] for i in order]) if by_length else set()
    batch: list[int] = []
    tail = head = reads = 0
    for number, i in enumerate(order):
        tail, head, reads = (max(pair) for pair in zip((tail, head, reads), sizes[i], strict=True))
        if batch and (number in ends or not fits(len(batch) + 1, tail, head, reads)):
            yield batch
            batch, (tail, head, reads) = [], sizes[i]
        batch.append(i)
    yield batch


def cheapest_cuts(widths: Sequence[int]) -> set[int]:
    """Where to cut ascending widths, so that the sum of count x widest + `PASS_TOKENS` over the parts is least."""
    borders = [0, *(i for i in range(1, len(widths)) if widths[i] > widths[i - 1]), len(widths)]
    best, cut_before = [0.0], [0]
    for end in range(1, len(borders)):
        width = widths[borders[end] - 1]
        costs = [best[start] + (borders[end] - borders[start]) * width + PASS_TOKENS for start in range(end)]
        best.append(min(costs))
        cut_before.append(costs.index(best[-1]))
    ends, at = set(), len(borders) - 1
    while at:
        at = cut_before[at]
        ends.add(borders[at])
    return ends
