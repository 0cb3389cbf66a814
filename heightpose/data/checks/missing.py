"""Edge joints left out although their neighbour is labelled."""

from __future__ import annotations

import numpy as np

from heightpose.data.checks.finding import REPORTED, Finding
from heightpose.data.coco import Dataset


def find_missing(dataset: Dataset) -> list[Finding]:
    """Crown, heels and toes without a label beside a labelled neighbour, the rarer in this set the worse.

    Slips are rare, habits are not: an omission seen in a share r of comparable infants (neighbour seen, or neighbour
    hidden) counts 3 * -log10(r) sigmas, so one in a hundred stands out and one in five does not.
    """
    skeleton = dataset.skeleton
    pairs = [(i, p) for i in dataset.items for p in i.people]
    if not pairs:
        return []
    seen = np.array([p.visibility for _, p in pairs])
    outside = np.array([p.out_of_frame for _, p in pairs])
    severity = np.zeros(seen.shape)
    for joint, name in enumerate(skeleton.names):
        if not name.endswith(("crown", "heel", "toe")):
            continue
        neighbour = skeleton.index(skeleton.init_from.get(name, name))
        neighbour = neighbour if neighbour != joint else int(skeleton.parents[joint])
        sides = [joint, int(skeleton.flip_map[joint])]
        for level in (1, 2):
            there = (seen[:, neighbour] == level) & ~outside[:, neighbour] & ~outside[:, joint]
            lacks = there & (seen[:, joint] == 0)
            # Both sides share one habit; a set that never labels the joint at all has no omissions.
            everyone = np.isin(seen[:, skeleton.flip_map[neighbour]], [level]).sum() + there.sum()
            share = (seen[:, sides] == 0).sum() / max(everyone, 1) if lacks.any() else 1.0
            share = max(min(share, 1.0), 1.0 / max(len(seen), 1))
            severity[lacks, joint] = -3.0 * np.log10(share)
    found = []
    for (item, person), row in zip(pairs, severity, strict=True):
        names = tuple(skeleton.names[k] for k in np.flatnonzero(row >= REPORTED))
        if names:
            found.append(
                Finding("missing", float(row.max()), f"{', '.join(names)} not labelled, though the neighbour is",
                        item, person, names)
            )  # fmt: skip
    return found
