"""What the tests of importers share: an import into a set, and its joints against the truth."""

from __future__ import annotations

import numpy as np

from heightpose.data.coco import Dataset
from heightpose.data.importers.run import Options, import_labels
from heightpose.skeleton import INFANT


def imported(format_, source, out, **options):
    import_labels(format_, source, out, Options(**options))
    return Dataset.load(out)


def joints_of(person):
    """Labelled joints as {name: (x, y, visibility)}; nothing else may carry a coordinate."""
    assert not person.kpts_frame[person.visibility == 0].any()
    rows = zip(INFANT.names, person.kpts_frame.tolist(), person.visibility.tolist(), strict=True)
    return {name: (*xy, seen) for name, xy, seen in rows if seen}


def assert_joints(person, truth):
    found = joints_of(person)
    assert set(found) == set(truth)
    for name, row in truth.items():
        np.testing.assert_allclose(found[name], row, atol=1e-3, err_msg=name)
