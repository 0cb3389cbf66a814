"""Leeds Sports Pose: ``joints.mat`` and ``images/``, the original set and the extended one.

The two differ in layout and in what the third number means. LSPET is ``(14, 3, N)`` with a visibility flag: a
joint with flag 0 is not labelled (all 16,787 of them lie off the picture, most at the origin), so it is masked.
LSP is ``(3, 14, N)`` and its third row says occluded: such joints are labelled but hidden.

Pixels are 0-based although the file is MATLAB's: of LSPET's 123,213 labels 23 have an x or y
in [0, 1) and none in (size - 1, size], where it would be the other way round if they counted from 1 (8 lie off
the picture). They are taken as they are; for LSP, by the same makers, the same is assumed.

Splits: of LSP the first 1,000 are for training and the rest are the test set, as published. Of LSPET, pictures
from im09001 on are kept back as "test": nothing trains on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from heightpose.data.importers.joints import LSP_ORDER, JointMap
from heightpose.data.importers.labels import (
    Labelled,
    Problems,
    find_picture,
    make_person,
    read_mat,
    require_unturned,
    with_way_up,
)
from heightpose.errors import FileFormatError

LSP_TRAIN = 1000
LSPET_KEPT_BACK_FROM = 9001


def read(source: Path, joints: JointMap, problems: Problems) -> Iterator[Labelled]:
    """The pictures of a folder with ``joints.mat``, or of that file's folder."""
    path = source / "joints.mat" if source.is_dir() else source
    table, extended = _table(path)
    names = joints.names(LSP_ORDER, f"{path}: joints")
    for number in range(1, len(table) + 1):
        with problems.guard():
            name = f"im{number:05d}.jpg" if extended else f"im{number:04d}.jpg"
            where = f"{path}: person {number} ({name})"
            picture, folder = find_picture((path.parent / "images", path.parent), name, where)
            require_unturned(picture, where)
            labelled = {}
            for ours, (x, y, flag) in zip(names, table[number - 1].tolist(), strict=True):
                if flag not in (0, 1):
                    raise FileFormatError(
                        "not a flag", where=f"{where}, joint {ours}", expected="0 or 1", got=flag
                    )
                seen = (2 if flag else 0) if extended else (1 if flag else 2)
                if ours is not None and seen:
                    labelled[ours] = (x, y, seen)
            kept_back = number >= LSPET_KEPT_BACK_FROM if extended else number > LSP_TRAIN
            person = make_person(labelled, where, strata={"source": "lspet" if extended else "lsp"})
            person = with_way_up(person)
            yield Labelled(picture, folder, where, (person,), split="test" if kept_back else None)


def _table(path: Path) -> tuple[np.ndarray, bool]:
    """``(N, 14, 3)`` of x, y and the file's flag, and whether it is the extended set."""
    joints = np.asarray(read_mat(path, "joints"))
    if joints.ndim == 2:  # MATLAB drops the last dimension of a single person
        joints = joints[:, :, None]
    shape = joints.shape
    if joints.ndim == 3 and joints.dtype.kind in "fiu":
        if shape[:2] == (14, 3):
            return joints.transpose(2, 0, 1).astype(np.float64), True
        if shape[:2] == (3, 14):
            return joints.transpose(2, 1, 0).astype(np.float64), False
    raise FileFormatError(
        "not the joints of LSP or LSPET", where=f"{path}: joints", expected="14x3xN or 3x14xN", got=shape
    )
