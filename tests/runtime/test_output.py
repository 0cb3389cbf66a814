"""Result files: whole or not at all, the right times, the right numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import makers
import numpy as np
import pytest

from heightpose.errors import HeightposeError
from heightpose.runtime import output, results
from heightpose.runtime.atomic import atomic_path, make_folder, write_json, write_text
from heightpose.runtime.clip import Frame
from heightpose.runtime.poselog import PoseLog, Thinned
from heightpose.runtime.video_writer import open_video_writer
from heightpose.skeleton import INFANT
from heightpose.types import Detection, FrameResult, Measurement, Pose, Reason


def a_pose(seed=0, angle=0.0):
    rng = np.random.default_rng(seed)
    kpts = rng.uniform(0, 1900, (21, 2))
    return Pose(kpts, rng.uniform(0, 1, 21), Detection(np.array([1.5, 2.5, 300.25, 400.0]), angle, 0.9))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "height.json"
    write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"new": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half, then \ud800 which UTF-8 cannot hold")
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["height.json"]


def test_the_temporary_file_lies_in_the_same_folder(tmp_path):
    with atomic_path(tmp_path / "a.mp4") as tmp:
        assert tmp.parent == tmp_path
        assert tmp.suffix == ".mp4"
        assert not (tmp_path / "a.mp4").exists()
    assert (tmp_path / "a.mp4").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HeightposeError, match=r"cannot be written.*--out"):
        make_folder(tmp_path / "file" / "sub")
    with pytest.raises(HeightposeError, match="cannot be written"):
        write_json(tmp_path / "absent" / "x.json", {})


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_one_clear_line(tmp_path):
    with (
        pytest.raises(HeightposeError, match=r"x\.json: cannot be written: No space left"),
        atomic_path(tmp_path / "x.json"),
        open("/dev/full", "w") as file,
    ):
        file.write("x")
    assert os.listdir(tmp_path) == []


def test_measured_document():
    m = Measurement(68.4049, (67.602, 69.198), 120, 41, details={"n": np.float64(1.5), "bad": np.nan})
    document = output.height_document(m, decoded=240, z_score=0.123456, percentile=54.9)
    json.dumps(document, allow_nan=False)
    assert document["status"] == "measured"
    assert document["reasons"] == []
    assert document["length_cm"] == 68.4
    assert document["interval_cm"] == [67.6, 69.2]
    assert document["interval_level"] == 0.9
    assert document["frames"] == {"total": 120, "used": 41, "decoded": 240}
    assert (document["z_score"], document["percentile"]) == (0.12, 54.9)
    document = output.height_document(m, decoded=240, z_score=-0.001, percentile=50.0)
    assert str(document["z_score"]) == "0.0"
    assert document["details"] == {"n": 1.5, "bad": None}
    assert "interrupted" not in document


def test_plain_values_hold_text_that_any_parser_takes():
    assert output.plain({"a\udcff": ["b\udcff", Path("c\udcff")]}) == {"a\ufffd": ["b\ufffd", "c\ufffd"]}


def test_rejected_document():
    m = Measurement.rejected([Reason("no_scale", "Words.")], frames_total=3)
    document = output.height_document(m, decoded=3, interrupted=True)
    assert document["status"] == "rejected"
    assert document["length_cm"] is None
    assert document["interval_cm"] is None
    assert document["reasons"] == [{"code": "no_scale", "text": "Words."}]
    assert document["interrupted"] is True


def test_rounding_keeps_the_length_in_its_interval():
    document = output.height_document(Measurement(68.4051, (68.4049, 68.4052), 9, 9), decoded=9)
    low, high = document["interval_cm"]
    assert low <= document["length_cm"] <= high


def noted(log, count):
    rgb = np.zeros((2, 2, 3), np.uint8)
    for _ in log.note(Frame(i, 0.1 * i, rgb) for i in range(count)):
        pass


def test_poses_document(tmp_path):
    log, pose = PoseLog(21), a_pose()
    noted(log, 3)
    log.add(FrameResult(0, 0.0, pose, 1))
    log.add(FrameResult(1, 0.1, None, 0))
    output.write_poses(tmp_path / "poses.json", log, INFANT)
    document = json.loads((tmp_path / "poses.json").read_text())
    assert document["joints"] == list(INFANT.names)
    first, empty, skipped = document["frames"]
    assert first["bbox_xyxy"] == [1.5, 2.5, 300.25, 400.0]
    np.testing.assert_allclose(np.array(first["keypoints"])[:, :2], pose.kpts_frame, atol=1e-3)
    np.testing.assert_allclose(np.array(first["keypoints"])[:, 2], pose.scores, atol=1e-3)
    assert empty["keypoints"] is None
    assert empty["t_s"] == 0.1
    assert "skipped" not in empty
    assert skipped["skipped"] is True


def test_no_frames_is_still_json(tmp_path):
    output.write_poses(tmp_path / "poses.json", PoseLog(21), INFANT)
    assert json.loads((tmp_path / "poses.json").read_text())["frames"] == []


@pytest.mark.parametrize(
    ("crown", "degrees"), [((0, -5), 0), ((5, 0), 90), ((0, 5), 180), ((-5, 0), -90), ((3, -3), 45)]
)
def test_head_angle_is_from_pelvis_to_crown_clockwise(crown, degrees):
    pose = a_pose()
    kpts = pose.kpts_frame.copy()
    kpts[INFANT.index("pelvis")] = (100, 100)
    kpts[INFANT.index("crown")] = np.add((100, 100), crown)
    result = FrameResult(0, 0.0, Pose(kpts, pose.scores, pose.detection), 1)
    assert output.head_angle_deg(result, INFANT) == pytest.approx(degrees)


def test_pose_log_gives_back_what_it_was_given():
    log = PoseLog(21)
    noted(log, 2500)
    for i in (0, 1023, 1024, 2499):
        log.add(FrameResult(i, 0.1 * i, a_pose(i, angle=-90.0), 2))
    assert len(log) == 2500
    for i in (0, 1023, 1024, 2499):
        back, pose = log[i], a_pose(i)
        assert (back.index, back.infants) == (i, 2)
        assert back.t_s == 0.1 * i
        np.testing.assert_allclose(back.pose.kpts_frame, pose.kpts_frame, atol=1e-3)
        assert back.pose.detection.head_angle_deg == -90.0
    assert log.looked_at().tolist() == [0, 1023, 1024, 2499]
    assert log.looked_at(before=1024).tolist() == [0, 1023]
    assert log[7].pose is None


@pytest.mark.parametrize("count", [1, 5, 12, 13, 100, 1000])
def test_thinned_spreads_over_any_length(count):
    sample, made = Thinned(12), 0
    for i in range(count):
        made += sample.wants_next
        sample.add(i if sample.wants_next else None)
    kept = sample.items
    assert len(kept) <= 12
    assert len(kept) >= min(count, 6)
    assert kept[0] == 0
    assert len(set(np.diff(kept))) <= 1  # even
    assert kept[-1] >= count - 1 - (kept[1] if len(kept) > 1 else 0)
    assert made <= 12 + 7 * max(0, np.log2(max(count / 12, 1)) + 1)


def test_overlay_video_keeps_times_and_pads_odd_sizes(tmp_path):
    times = [0.0, 0.04, 0.3, 1.2, 1.25]
    frames = [makers.scene((97, 65), (20 + 5 * i, 30)) for i in range(5)]
    with open_video_writer(tmp_path / "o.mp4", (97, 65), None) as writer:
        for rgb, t_s in zip(frames, times, strict=True):
            writer.write(rgb, t_s)
        assert not (tmp_path / "o.mp4").exists()
    with av.open(str(tmp_path / "o.mp4")) as video:
        stream = video.streams.video[0]
        decoded = list(video.decode(stream))
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    np.testing.assert_allclose([f.time for f in decoded], times, atol=2e-4)
    assert (decoded[0].width, decoded[0].height) == (98, 66)
    assert abs(decoded[0].to_ndarray(format="rgb24")[:65, :97].astype(int) - frames[0]).mean() < 6


def open_small(tmp_path):
    return open_video_writer(tmp_path / "o.mp4", (64, 64), None)


def test_a_video_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="shape"), open_small(tmp_path) as writer:  # noqa: PT012
        writer.write(makers.scene((64, 64)), 0.0)
        writer.write(np.zeros((64, 64, 5), np.uint8), 0.1)
    assert os.listdir(tmp_path) == []


def test_nobody_waits_for_a_night_without_pictures(tmp_path):
    with open_small(tmp_path) as writer:
        for t_s in (5.0, 5.04, 60_000.0, 60_000.04, 63_599.0):
            writer.write(makers.scene((64, 64)), t_s)
    with av.open(str(tmp_path / "o.mp4")) as video:
        times = [f.time for f in video.decode(video=0)]
    np.testing.assert_allclose(times, [0.0, 0.04, 3600.04, 3600.08, 7199.04], atol=2e-4)


def test_times_that_do_not_increase_are_written_in_order(tmp_path):
    with open_video_writer(tmp_path / "o.mp4", (64, 64), None) as writer:
        for _ in range(3):
            writer.write(makers.scene((64, 64)), 0.5)
    with av.open(str(tmp_path / "o.mp4")) as video:
        assert len(list(video.decode(video=0))) == 3


def test_png_has_the_right_colours(tmp_path):
    rgb = np.zeros((8, 9, 3), np.uint8)
    rgb[..., 0] = 200
    output.write_picture(tmp_path / "p.png", rgb)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "p.png"))[..., ::-1], rgb)


def test_hashes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"d")
    assert output.sha256([tmp_path / "a"]).startswith("ba7816bf8f01cfea")
    assert output.sha256([tmp_path / "a", tmp_path / "b"]) != output.sha256([tmp_path / "b", tmp_path / "a"])


def test_a_reproducible_video_has_the_same_bytes_on_any_number_of_cores(tmp_path):
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:135, :241]
    ramps = [((x * 3 + t * 5) % 256 + (y * 2 + t * 3) % 200) // 2 for t in range(6)]
    frames = np.stack(
        [np.stack([r, r // 2 + 40, 255 - r], -1) + rng.integers(-9, 10, (135, 241, 3)) for r in ramps]
    )
    frames = np.clip(frames, 0, 255).astype(np.uint8)
    np.save(tmp_path / "frames.npy", frames)
    script = """if True:
        import os, sys
        from pathlib import Path
        import numpy as np
        if sys.argv[1] == "one":
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from heightpose.runtime.video_writer import open_video_writer
        with open_video_writer(Path(sys.argv[1] + ".mp4"), (241, 135), None, reproducible=True) as writer:
            for t, frame in enumerate(np.load("frames.npy")):
                writer.write(frame, t / 5)
    """
    for cores in ("one", "all"):
        subprocess.run([sys.executable, "-c", script, cores], cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "all.mp4").read_bytes()
    with av.open(str(tmp_path / "all.mp4")) as video:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
    grey, drawn = (v[:, :135, :241].astype(float).mean(axis=3) for v in (decoded, frames))
    assert np.abs(grey - drawn).mean() < 6.0


def test_a_live_overlay_that_cannot_be_written_leaves_the_measuring_alone(tmp_path, caplog):
    rgb = np.zeros((16, 20000, 3), np.uint8)
    for folder, size_wh in ((tmp_path, (20000, 16)), (tmp_path / "gone", (64, 48))):
        clip = SimpleNamespace(size_wh=size_wh, fps=None, pixel_aspect=1.0)
        with results.LiveOverlay(folder / "overlay.mp4", clip, blur_faces=False) as live:
            live.show(FrameResult(0, 0.0, None), rgb[:, : size_wh[0]])
        assert live.failed
    assert caplog.text.count("no overlay is written") == 2
    assert list(tmp_path.iterdir()) == []
