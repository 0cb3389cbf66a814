"""The way out: what CVAT, FiftyOne, Label Studio and COCO's own tools insist on, and videos as pictures."""

from __future__ import annotations

import json

import av
import cv2
import drawn
import numpy as np
import pytest

from heightpose.data.coco import Dataset
from heightpose.data.export import export_coco
from heightpose.data.importers.run import Options, import_labels
from heightpose.data.pictures import Pictures
from heightpose.errors import FileFormatError, HeightposeError, InputError
from heightpose.runtime.output import sha256
from heightpose.skeleton import INFANT


def exported(tmp_path, change=lambda doc: None, **options):
    drawn.nursery(tmp_path / "set")
    drawn.rewrite(tmp_path / "set", change)
    data = Dataset.load(tmp_path / "set")
    export_coco(data, tmp_path / "out", **options)
    return data


def _hide(doc):
    """A hidden and an unlabelled joint; the latter with coordinates that must not leave."""
    flat = doc["annotations"][0]["keypoints"]
    flat[2], flat[3:6] = 1, [50, 40, 0]


def test_every_field_that_the_tools_insist_on(tmp_path):
    data = exported(tmp_path, _hide)
    files = sorted((tmp_path / "out/annotations").iterdir())
    assert [f.name for f in files] == ["person_keypoints_train.json", "person_keypoints_val.json"]
    ids = []
    for file in files:
        document = json.loads(file.read_text())
        (category,) = document["categories"]
        assert (category["id"], category["keypoints"]) == (1, list(INFANT.names))
        edges = np.array(category["skeleton"])
        assert edges.min() == 1
        assert edges.max() == len(INFANT)
        assert [INFANT.names[i - 1] for i in edges[0]] == [INFANT.names[k] for k in INFANT.edges[0]]
        image_ids = {image["id"] for image in document["images"]}
        for image in document["images"]:
            assert image["id"] > 0
            assert (tmp_path / "out/images" / image["file_name"]).is_file()
            assert (image["width"], image["height"]) == (160, 120)
        for entry in document["annotations"]:
            assert entry["image_id"] in image_ids
            assert entry["id"] > 0
            assert (entry["category_id"], entry["iscrowd"], entry["segmentation"]) == (1, 0, [])
            assert entry["area"] == pytest.approx(entry["bbox"][2] * entry["bbox"][3])
            table = np.array(entry["keypoints"]).reshape(-1, 3)
            assert set(table[:, 2]) <= {0, 1, 2}
            assert entry["num_keypoints"] == (table[:, 2] > 0).sum()
            assert not table[table[:, 2] == 0].any()
            ids.append(entry["id"])
    first = json.loads(files[0].read_text())["annotations"][0]
    assert first["keypoints"][2:6] == [1, 0, 0, 0]
    assert len(ids) == sum(len(i.people) for i in data.items)


def test_without_segmentation_for_label_studio_and_without_pictures(tmp_path):
    exported(tmp_path, segmentation=False, pictures=False)
    document = json.loads((tmp_path / "out/annotations/person_keypoints_train.json").read_text())
    assert all("segmentation" not in entry for entry in document["annotations"])
    assert not (tmp_path / "out/images").exists()


def _film(path, kpts):
    """Four frames of an infant."""
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(4):
            picture = drawn.draw((160, 120), kpts, rng)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def test_frames_of_a_video_become_pictures(tmp_path):
    kpts = drawn.infant_kpts((80, 60), 90, 20)
    folder = tmp_path / "set"
    _film(folder / "clips/a.mp4", kpts)
    images = [
        {"id": f, "video": "clips/a.mp4", "frame": f, "width": 160, "height": 120, "split": "test"}
        for f in (1, 3)
    ]
    annotations = [drawn.annotation(i, f, kpts, "ada") for i, f in enumerate((1, 3))]
    (folder / "annotations.json").write_text(json.dumps(drawn.document(images, annotations)))
    data = Dataset.load(folder)
    export_coco(data, tmp_path / "out")
    import_labels("coco", tmp_path / "out", tmp_path / "again", Options())
    again = Dataset.load(tmp_path / "again")
    assert [i.path.name for i in again.items] == ["a_000001.png", "a_000003.png"]
    assert {i.recording_sha256 for i in again.items} == {sha256([folder / "clips/a.mp4"])}
    before, after = Pictures(data.items), Pictures(again.items)
    for k in range(2):
        np.testing.assert_array_equal(before.picture(k), after.picture(k))
        np.testing.assert_allclose(again.items[k].people[0].kpts_frame, kpts, atol=1e-3)
    # Our own form with videos is imported as it is, too.
    import_labels("coco", folder, tmp_path / "direct", Options())
    assert [i.frame for i in Dataset.load(tmp_path / "direct").items] == [1, 3]
    drawn.rewrite(folder, lambda d: d["images"][1].update(frame=9))
    with pytest.raises(FileFormatError, match="no frame 9"):
        import_labels("coco", folder, tmp_path / "broken", Options())


def test_frames_of_a_nameless_infants_video_stay_in_one_split(tmp_path):
    kpts = drawn.infant_kpts((80, 60), 90, 20)
    folder = tmp_path / "set"
    _film(folder / "clips/a.mp4", kpts)
    images = [{"id": f, "video": "clips/a.mp4", "frame": f, "width": 160, "height": 120} for f in range(4)]
    annotations = [drawn.annotation(f, f, kpts, None) for f in range(4)]
    (folder / "annotations.json").write_text(json.dumps(drawn.document(images, annotations)))
    export_coco(Dataset.load(folder), tmp_path / "out")
    chosen = set()
    for seed in range(6):
        options = Options(seed=seed, val_share=0.5, overwrite=True)
        import_labels("coco", tmp_path / "out", tmp_path / "again", options)
        again = Dataset.load(tmp_path / "again")
        assert {i.recording for i in again.items} == {"a.mp4"}
        assert len({i.split for i in again.items}) == 1
        chosen |= {i.split for i in again.items}
    assert chosen == {"train", "val"}
    export_coco(again, tmp_path / "once more")  # and of an export's pictures too
    assert {i["recording"] for i in _images(tmp_path / "once more")} == {"a.mp4"}
    assert {i["recording_sha256"] for i in _images(tmp_path / "once more")} == {
        sha256([folder / "clips/a.mp4"])
    }
    drawn.rewrite(tmp_path / "again", lambda d: d["images"][0].update(recording=3))
    with pytest.raises(FileFormatError, match="image 1, field recording"):
        Dataset.load(tmp_path / "again")
    drawn.rewrite(
        tmp_path / "again", lambda d: d["images"][0].update(recording="a.mp4", recording_sha256="A" * 64)
    )
    with pytest.raises(FileFormatError, match="image 1, field recording_sha256"):
        Dataset.load(tmp_path / "again")


def _images(folder):
    (path,) = (folder / "annotations").iterdir()
    return json.loads(path.read_text())["images"]


def test_frames_of_videos_of_one_name_do_not_overwrite_each_other(tmp_path):
    videos = ["../a/x.mp4", "../b/x.mp4", "../b/x.mov"]
    images, annotations = [], []
    folder = tmp_path / "set"
    folder.mkdir()
    for number, video in enumerate(videos):
        kpts = drawn.infant_kpts((80, 60), 90, 60 * number)
        _film(folder / video, kpts)
        images.append({"id": number, "video": video, "frame": 1, "width": 160, "height": 120})
        annotations.append(drawn.annotation(number, number, kpts, f"child-{number}"))
    (folder / "annotations.json").write_text(json.dumps(drawn.document(images, annotations)))
    data = Dataset.load(folder)
    export_coco(data, tmp_path / "out")
    document = json.loads((tmp_path / "out/annotations/person_keypoints_default.json").read_text())
    frames = Pictures(data.items)
    for k, image in enumerate(document["images"]):
        written = cv2.imread(str(tmp_path / "out/images" / image["file_name"]))[..., ::-1]
        np.testing.assert_array_equal(written, frames.picture(k))


def _scenes(doc):
    """Strata of the pictures themselves, which those of empty cots have too; the last has none."""
    _hide(doc)
    for image in doc["images"][:-1]:
        image["strata"] = {"scene": f"tags, bed {image['id'] % 3}", "sensor": "infrared"}


def test_our_own_set_survives_the_round_trip(tmp_path):
    data = exported(tmp_path, _scenes)
    import_labels("coco", tmp_path / "out", tmp_path / "again", Options())
    again = {i.path.name: i for i in Dataset.load(tmp_path / "again").items}
    assert len(again) == len(data.items)
    assert [bool(i.strata) for i in data.items if not i.people] == [True, False]
    for item in data.items:
        other = again[item.path.name]
        assert (other.split, other.strata) == (item.split, item.strata)
        for p, q in zip(item.people, other.people, strict=True):
            np.testing.assert_allclose(q.kpts_frame, p.kpts_frame, atol=1e-3)
            np.testing.assert_array_equal(q.visibility, p.visibility)
            np.testing.assert_allclose(q.bbox_xyxy, p.bbox_xyxy, atol=1e-9)
            assert (q.child, q.strata) == (p.child, p.strata)


def test_a_head_box_is_kept_and_an_empty_one_refused(tmp_path):
    drawn.nursery(tmp_path)
    drawn.rewrite(tmp_path, lambda d: d["annotations"][0].update(head_box_xyxy=[1, 2, 11, 12.5]))
    data = Dataset.load(tmp_path)
    data.save(tmp_path)
    assert Dataset.load(tmp_path).items[0].people[0].head_box_xyxy.tolist() == [1, 2, 11, 12.5]
    assert Dataset.load(tmp_path).items[1].people[0].head_box_xyxy is None
    drawn.rewrite(tmp_path, lambda d: d["annotations"][0].update(head_box_xyxy=[1, 2, 1, 12.5]))
    with pytest.raises(FileFormatError, match="field head_box_xyxy"):
        Dataset.load(tmp_path)


def test_an_export_that_fails_leaves_nothing_new(tmp_path):
    drawn.nursery(tmp_path / "set")
    (tmp_path / "out/images/000003.png").mkdir(parents=True)
    with pytest.raises(HeightposeError, match=r"000003\.png: cannot be written"):
        export_coco(Dataset.load(tmp_path / "set"), tmp_path / "out")
    left = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*"))
    assert left == ["images", "images/000003.png"]


def test_labels_and_pictures_that_are_there_are_not_replaced_unasked(tmp_path):
    data = exported(tmp_path)
    labels = sorted((tmp_path / "out/annotations").iterdir())
    labels[0].write_text("corrected")
    with pytest.raises(InputError, match=rf"{labels[0].name}: there are labels already"):
        export_coco(data, tmp_path / "out")
    assert labels[0].read_text() == "corrected"
    for path in labels:
        path.unlink()
    export_coco(data, tmp_path / "out")  # the same pictures may stay
    for path in labels:
        path.unlink()
    theirs = tmp_path / "out/images/000003.png"
    theirs.write_bytes(b"another")
    with pytest.raises(InputError, match=r"000003\.png: another picture is there already"):
        export_coco(data, tmp_path / "out")
    assert theirs.read_bytes() == b"another"
    assert not any(path.exists() for path in labels)
    export_coco(data, tmp_path / "out", overwrite=True)
    assert theirs.read_bytes() == data.items[[i.id for i in data.items].index(3)].path.read_bytes()


def test_an_export_of_no_pictures_is_refused(tmp_path):
    drawn.nursery(tmp_path / "set")
    with pytest.raises(InputError, match=r"annotations\.json: no pictures to export"):
        export_coco(Dataset.load(tmp_path / "set").subset("test"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
