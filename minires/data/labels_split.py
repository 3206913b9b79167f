"""Splits that are fair to every label where a picture may have several: iterative stratification.

Sechidis, Tsoumakas and Vlahavas 2011, On the stratification of multi-label data, algorithm 1: the rarest label is
dealt out first, each of its pictures to the part that still lacks most of that label; what is dealt counts for its
other labels, too. A random split would leave a label of five pictures without any in the test one time in two.
"""

from collections import Counter
from collections.abc import Sequence

from minires.random import philox


def is_sets_of_labels(targets: Sequence[object]) -> bool:
    """Whether these are targets of a MultiLabelDataset: tuples of class indices."""
    return bool(targets) and all(
        isinstance(target, tuple) and all(isinstance(index, int) for index in target) for target in targets
    )


def stratify(
    targets: Sequence[Sequence[int]], units: Sequence[Sequence[int]], shares: Sequence[float], seed: int
) -> list[list[int]]:  # fmt: skip
    """The sample indices of each part, sorted. Part j gets about shares[j] (which add up to 1) of every label.

    targets: class indices of each sample. units: samples that stay together. The order in which the units of a label
    are dealt out is drawn from the address (seed, "split labels").
    """
    labels = [Counter(index for sample in unit for index in targets[sample]) for unit in units]
    total: Counter[int] = sum(labels, Counter())
    lacking = [{label: count * share for label, count in total.items()} for share in shares]
    room = [len(targets) * share for share in shares]
    parts: list[list[int]] = [[] for _ in shares]  # of units
    order = [int(place) for place in philox(seed, "split labels").permutation(len(units))]
    waiting = {label: [place for place in order if label in labels[place]] for label in total}
    dealt: set[int] = set()

    def deal(place: int, part: int) -> None:
        dealt.add(place)
        parts[part].append(place)
        room[part] -= len(units[place])
        for label, count in labels[place].items():
            lacking[part][label] -= count

    while waiting:
        left = {label: [place for place in places if place not in dealt] for label, places in waiting.items()}
        waiting = {label: places for label, places in left.items() if places}
        if waiting:
            rarest = min(waiting, key=lambda label: (len(waiting[label]), label))
            for place in waiting.pop(rarest):
                deal(place, max(range(len(shares)), key=lambda part: (lacking[part][rarest], room[part], -part)))
    for place in order:  # pictures without any label
        if place not in dealt:
            deal(place, max(range(len(shares)), key=lambda part: (room[part], -part)))
    for part in parts:  # few pictures: none of the parts is left empty while another can spare a unit
        largest = max(parts, key=len)
        if not part and len(largest) > 1:
            part.append(largest.pop())
    return [sorted(sample for place in part for sample in units[place]) for part in parts]
