"""What holds of importers of any format, and the way out to COCO and back without loss."""

from __future__ import annotations

import foreign
import numpy as np
import pytest
import scipy.io
from imported import imported

from heightpose.data.export import export_coco
from heightpose.errors import FileFormatError, InputError

SOURCES = ["lspet", "lsp", "mpii_mat", "mpii_json", "coco17", "labelme", "cvat"]


@pytest.mark.parametrize("pixels", ["centre", "corner"])
@pytest.mark.parametrize("source", SOURCES)
def test_out_to_coco_and_back_nothing_is_lost(tmp_path, source, pixels):
    src = tmp_path / "src"
    getattr(foreign, source)(src)
    format_ = {"lspet": "lsp", "mpii_mat": "mpii", "mpii_json": "mpii", "coco17": "coco"}.get(source, source)
    mapped = src / "joints.yaml"
    before = imported(
        format_, src, tmp_path / "set", joint_map=mapped if mapped.is_file() else None, copy=True
    )
    export_coco(before, tmp_path / "plain", pixel_offset=0.5 if pixels == "corner" else 0.0)
    after = imported("coco", tmp_path / "plain", tmp_path / "again", pixels=pixels)
    by_name = {i.path.name: i for i in after.items}
    assert len(by_name) == len(before.items)
    for item in before.items:
        other = by_name[item.path.name]
        assert other.path.read_bytes() == item.path.read_bytes()
        assert (other.split, other.size_wh) == (item.split, item.size_wh)
        assert other.infants_in_view == item.infants_in_view
        for p, q in zip(item.people, other.people, strict=True):
            np.testing.assert_allclose(q.kpts_frame, p.kpts_frame, atol=1e-3)
            np.testing.assert_array_equal(q.visibility, p.visibility)
            np.testing.assert_array_equal(q.out_of_frame, p.out_of_frame)
            np.testing.assert_allclose(q.bbox_xyxy, p.bbox_xyxy, atol=1e-9)
            assert (q.child, q.strata) == (p.child, p.strata)
            assert (q.head_box_xyxy is None) == (p.head_box_xyxy is None)
            if p.head_box_xyxy is not None:
                np.testing.assert_allclose(q.head_box_xyxy, p.head_box_xyxy, atol=1e-9)


@pytest.mark.parametrize("format_", ["coco", "cvat"])
def test_names_with_windows_separators_are_found_where_none_is_written_so(tmp_path, format_):
    src = tmp_path / "src"
    options = {}
    if format_ == "coco":
        foreign.coco17(src, change=lambda d: d["images"][0].update(file_name="images\\a.jpg"))
    else:
        foreign.cvat(src)
        path = src / "annotations.xml"
        path.write_text(path.read_text().replace('name="a.png"', 'name="images\\a.png"'))
        options["joint_map"] = src / "joints.yaml"
    data = imported(format_, src, tmp_path / "set", **options)
    picture = data.items[0].path
    assert (picture.stem, picture.parent.name) == ("a", "images")
    (src / f"images\\{picture.name}").write_bytes(picture.read_bytes())
    again = imported(format_, src, tmp_path / "again", **options)
    assert again.items[0].path.name == f"images\\{picture.name}"


def _spoil_xml(folder):
    path = folder / "annotations.xml"
    path.write_text(path.read_text().replace("<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>'))


def test_what_is_not_the_format_is_said_so(tmp_path):
    foreign.cvat(tmp_path / "c")
    _spoil_xml(tmp_path / "c")
    with pytest.raises(FileFormatError, match="document type"):
        imported("cvat", tmp_path / "c", tmp_path / "set")
    (tmp_path / "c/annotations.xml").write_text("<annotations><track/></annotations>")
    with pytest.raises(FileFormatError, match="CVAT for images"):
        imported("cvat", tmp_path / "c", tmp_path / "set")
    (tmp_path / "joints.mat").write_bytes(b"no matlab")
    with pytest.raises(FileFormatError, match="not a MATLAB file"):
        imported("lsp", tmp_path, tmp_path / "set")
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": np.zeros((3, 3, 3))})
    with pytest.raises(FileFormatError, match="14x3xN or 3x14xN"):
        imported("lsp", tmp_path, tmp_path / "set")
    scipy.io.savemat(tmp_path / "x.mat", {"other": 1})
    with pytest.raises(FileFormatError, match="RELEASE"):
        imported("mpii", tmp_path / "x.mat", tmp_path / "set")
    with pytest.raises(InputError, match="no COCO file"):
        imported("coco", tmp_path / "c/images", tmp_path / "set")


def test_a_name_that_no_disk_could_have_is_one_bad_item_of_a_short_line(tmp_path):
    foreign.coco17(tmp_path / "src", change=lambda d: d["images"][0].update(file_name="a" * 5000))
    with pytest.raises(FileFormatError, match=r"image 10, .*the picture is missing\. Looked in ") as raised:
        imported("coco", tmp_path / "src", tmp_path / "set")
    assert len(str(raised.value)) < 2000
    data = imported("coco", tmp_path / "src", tmp_path / "set", skip_bad=True)
    assert [i.path.name for i in data.items] == ["b.jpg", "c.jpg"]


def test_a_folder_in_place_of_a_matlab_file_is_no_file(tmp_path):
    (tmp_path / "joints.mat").mkdir()
    with pytest.raises(InputError, match=r"joints\.mat: no such file \(got a folder\)"):
        imported("lsp", tmp_path, tmp_path / "set")
    with pytest.raises(InputError, match=r"joints\.mat: no such file"):
        imported("lsp", tmp_path / "joints.mat", tmp_path / "set")


@pytest.mark.parametrize("source", ["lspet", "mpii_mat", "mpii_json"])
def test_a_picture_turned_by_its_exif_note_does_not_fit_labels_of_the_stored_one(tmp_path, source):
    getattr(foreign, source)(tmp_path / "src")
    first = sorted((tmp_path / "src/images").iterdir())[0]
    plain = first.read_bytes()
    format_ = "lsp" if source == "lspet" else "mpii"

    def note(tag):
        block = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([tag]) + bytes(6)
        first.write_bytes(plain[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + plain[2:])

    note(1)
    assert imported(format_, tmp_path / "src", tmp_path / "set").items[0].path.name == first.name
    note(3)  # upside down, of which the size tells nothing
    with pytest.raises(FileFormatError, match=rf"{first.name}: the picture's EXIF note turns it"):
        imported(format_, tmp_path / "src", tmp_path / "other")
