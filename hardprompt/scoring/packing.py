"""Which rows go through the model together, so that little padding is computed."""

from collections.abc import Callable, Iterator, Sequence

PASS_TOKENS = 64
"""The fixed cost of a forward pass, expressed in tokens."""


def packed(
    sizes: Sequence[tuple[int, int, int]], fits: Callable[[int, int, int, int], bool], by_length: bool = True
) -> Iterator[list[int]]:
    """Split rows into batches of as many as fit, by default of similar length.

    The cost of a pass is its number of padded tokens plus `PASS_TOKENS`.

    Args:
        sizes: for each row, its tokens after the shared prefix, those of the prefix, and the positions that need logits.
        fits: whether a batch fits into one pass, given the number of rows and the largest of each size.
        by_length: whether to also split where this lowers the total cost.

    Yields:
        Indices of the rows of one batch.

    Example:
        >>> list(packed([(9, 0, 1), (5, 0, 1), (6, 0, 1)], lambda rows, width, prefix, reads: rows * width <= 12))
        [[1, 2], [0]]
    """
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    starts = cheapest_cuts([sizes[i][0] for i in order]) if by_length else set()
    batch: list[int] = []
    width = prefix = reads = 0
    for number, i in enumerate(order):
        width, prefix, reads = (max(pair) for pair in zip((width, prefix, reads), sizes[i], strict=True))
        if batch and (number in starts or not fits(len(batch) + 1, width, prefix, reads)):
            yield batch
            batch, (width, prefix, reads) = [], sizes[i]
        batch.append(i)
    yield batch


def cheapest_cuts(widths: Sequence[int]) -> set[int]:
    """Where to split ascending widths so that the sum of count x widest + `PASS_TOKENS` over the parts is smallest.

    Returns:
        The start of each part, as an index into `widths`.

    Example:
        >>> sorted(cheapest_cuts([5] * 10 + [50] * 10))
        [0, 10]
    """
    borders = [0, *(i for i in range(1, len(widths)) if widths[i] > widths[i - 1]), len(widths)]
    best, cut_before = [0.0], [0]
    for end in range(1, len(borders)):
        width = widths[borders[end] - 1]
        costs = [best[start] + (borders[end] - borders[start]) * width + PASS_TOKENS for start in range(end)]
        best.append(min(costs))
        cut_before.append(costs.index(best[-1]))
    starts, at = set(), len(borders) - 1
    while at:
        at = cut_before[at]
        starts.add(borders[at])
    return starts
