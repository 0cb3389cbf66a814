"""Pictures of data sets are read as ``infer`` reads them, whatever their EXIF note says."""

from __future__ import annotations

import drawn
import numpy as np
import PIL.Image
import pytest
from imported import imported

from heightpose.data.pictures import first_frame, read_picture
from heightpose.data.verify import verify
from heightpose.errors import FileFormatError

ORIENTATION = 0x0112


def with_note(path, tag):
    picture = PIL.Image.open(path).convert("RGB")
    note = PIL.Image.Exif()
    note[ORIENTATION] = tag
    picture.save(path, exif=note)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
def test_labels_are_for_the_picture_that_infer_sees(tmp_path, kind):
    rng = np.random.default_rng(0)
    path = tmp_path / f"0.{kind}"
    for tag in range(1, 9):
        PIL.Image.fromarray(
            np.kron(rng.integers(0, 255, (2, 3, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        ).save(path)
        with_note(path, tag)
        if tag in (2, 4, 5, 7):
            for read in (read_picture, first_frame):
                with pytest.raises(FileFormatError, match=rf"0\.{kind}: the picture's EXIF note mirrors it"):
                    read(path)
        else:
            assert read_picture(path).shape == ((24, 16, 3) if tag in (6, 8) else (16, 24, 3))
            np.testing.assert_array_equal(read_picture(path), first_frame(path))


def test_a_mirrored_picture_is_named_when_a_set_is_validated_or_imported(tmp_path):
    """Its size tells nothing, and its labels would be learned from and judged the wrong way round."""
    drawn.nursery(tmp_path / "set", train=2, val=0, empty=0)
    with_note(tmp_path / "set/images/000000.png", 2)
    (bad,) = verify(tmp_path / "set").bad
    assert "000000.png: the picture's EXIF note mirrors it" in bad
    with pytest.raises(
        FileFormatError, match=r"000000\.png: the picture's EXIF note mirrors it.*label it again"
    ):
        imported("coco", tmp_path / "set", tmp_path / "out")
    assert not (tmp_path / "out").exists()
