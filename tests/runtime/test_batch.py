"""Several inputs, the settings files, a run that is stopped, and networks that are not what they say."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import makers
import numpy as np
import pytest
from makers import clips

from heightpose.errors import ConfigError, FileFormatError, HeightposeError, InputError
from heightpose.geometry import body
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import plane_from_height
from heightpose.runtime import batch, poselog, results, session
from heightpose.runtime.batch import Settings, run_all, worst
from heightpose.runtime.clip import Clip, Frame
from heightpose.runtime.inputs import expand_inputs
from heightpose.runtime.networks import Detector, PoseModel
from heightpose.runtime.scale import Scale
from heightpose.types import Measurement


@pytest.fixture
def settings(tmp_path):
    pose, detector = makers.tiny_pose(tmp_path / "p.onnx"), makers.tiny_detector(tmp_path / "d.onnx")
    return Settings(out=tmp_path / "res", model=str(pose), detector=str(detector))


def test_names_of_result_folders(tmp_path):
    for name in ("a.mp4", "a.mov", "b.v2.mkv", "..mp4"):
        (tmp_path / name).touch()
    os.makedirs(tmp_path / "videos")
    (tmp_path / "videos" / "a.webm").touch()
    sources = [str(tmp_path / n) for n in ("a.mp4", "a.mov", "b.v2.mkv", "..mp4", "videos", "absent.mp4")]
    pairs, several = expand_inputs([*sources, "rtsp://me:secret@camera:554/live?key=1"])
    assert [name for _, name in pairs] == ["a", "a-2", "b.v2", "clip", "a-3", "absent", "camera-554-live"]
    assert several
    assert expand_inputs([str(tmp_path / "videos")]) == ([(str(tmp_path / "videos" / "a.webm"), "a")], True)
    assert expand_inputs([str(tmp_path / "a.mp4")])[1] is False
    for address in (f"file://{tmp_path}/videos", f"FILE://{tmp_path}/videos"):
        assert expand_inputs([address]) == ([(str(tmp_path / "videos" / "a.webm"), "a")], True)
    (tmp_path / "pics.v2").mkdir()
    assert expand_inputs([f"file://{tmp_path}/pics.v2"])[0][0][1] == "pics.v2"


def test_pictures_beside_videos_are_told(tmp_path, caplog):
    for name in ("a.mp4", "b.mp4", "notes.txt"):
        (tmp_path / name).touch()
    assert len(expand_inputs([str(tmp_path)])[0]) == 2
    assert not caplog.records
    for name in ("1.jpg", "2.PNG"):
        (tmp_path / name).touch()
    assert len(expand_inputs([str(tmp_path)])[0]) == 2
    (record,) = caplog.records
    assert "passed over (2)" in record.getMessage()
    caplog.clear()
    for name in ("b.GIF", "c.xyz", "d.heic", "camera.json"):
        (tmp_path / name).touch()
    assert len(expand_inputs([str(tmp_path)])[0]) == 3
    assert "2 files passed over" in caplog.text
    assert "(.heic, .xyz)" in caplog.text


def test_folders_of_recordings_in_a_folder_are_told(tmp_path, caplog):
    for name in (
        "a.mp4",
        "results/a/overlay.mp4",
        "a/height.json",
        "a/overlay.mp4",
        ".trash/old.mp4",
        "notes/b.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert len(expand_inputs([str(tmp_path)])[0]) == 1
    assert not caplog.records
    for name in ("monday/b.mp4", "tuesday/1.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert len(expand_inputs([str(tmp_path)])[0]) == 1
    (record,) = caplog.records
    assert "passed over (2), such as monday" in record.getMessage()


def test_a_long_name_gives_a_shorter_result_folder(tmp_path, settings):
    (source, _), *_ = clips(tmp_path, 2)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/" + b"\xe9" * 250 + b".mp4")
    os.rename(source, odd)
    pairs, _ = expand_inputs([odd, "http://host/" + "a" * 999, "http://host/" + "a" * 998])
    assert [len(name.encode()) for _, name in pairs] == [198, 200, 202]
    (item,) = run_all(pairs[:1], settings)
    assert item.code == 3


def test_two_streams_of_one_name_keep_their_login(caplog):
    pairs, _ = expand_inputs(["rtsp://me:secret@camera/live", "rtsp://me:secret@camera/live?key=secret"])
    assert [name for _, name in pairs] == ["camera-live", "camera-live-2"]
    assert "results of rtsp://camera/live go to camera-live-2" in caplog.text
    assert "secret" not in caplog.text


def test_the_current_folder_may_be_gone(tmp_path, settings, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    pairs, _ = expand_inputs([".", *[source for source, _ in clips(tmp_path, 2)]])
    assert [item.code for item in run_all(pairs, settings)] == [2, 3]


def test_a_name_that_is_not_utf8_gives_printable_results(tmp_path, settings):
    (source, _), *_ = clips(tmp_path, 2)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    os.rename(source, odd)
    pairs, _ = expand_inputs([odd])
    (item,) = run_all(pairs, settings)
    assert item.code == 3
    item.name.encode()  # can be printed
    folder = settings.out / item.name
    height, provenance = (json.loads((folder / f"{n}.json").read_text()) for n in ("height", "provenance"))
    assert height["input"] == provenance["input"]["name"] == item.document["input"] == "caf\ufffd.mp4"


def test_a_name_that_is_not_utf8_of_an_input_that_cannot_be_used(tmp_path, settings):
    absent = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    (item,) = run_all([(absent, "c")], settings)
    assert item.code == 2
    assert item.document["input"] == "caf\ufffd.mp4"
    assert "/caf\ufffd.mp4: no such file" in item.document["error"]


@pytest.mark.parametrize(
    ("codes", "code"), [([], 0), ([0, 3, 0], 3), ([3, 2, 3], 2), ([0, 2, 130], 130), ([3], 3)]
)
def test_the_worst_code(codes, code):
    assert worst(codes) == code


def test_the_scale_from_files_and_height(tmp_path, caplog):
    assert Settings().load_scale().missing().code == "no_scale"
    scale = Settings(camera_height_cm=150.0).load_scale()
    assert scale.plane.source == "height"
    assert scale.missing().code == "no_camera"
    assert "straight down" in caplog.text
    with pytest.raises(ConfigError, match="both sex and age"):
        Settings(sex="male").load_scale()
    (tmp_path / "big.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(FileFormatError, match=r"big\.json.*less than 1 MB"):
        Settings(camera=tmp_path / "big.json").load_scale()


def test_an_input_that_fails_does_not_stop_the_next(tmp_path, settings):
    (tmp_path / "empty.mp4").touch()
    inputs = [(str(tmp_path / "empty.mp4"), "empty"), *clips(tmp_path, 2)]
    items = list(run_all(inputs, settings))
    assert [item.code for item in items] == [2, 3]
    assert items[0].document["status"] == "error"
    assert items[1].document["frames"]["total"] == 2


def test_a_failed_input_is_named_as_a_measured_one(tmp_path, settings):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "none").mkdir()
    address = "rtsp://me:secret@host:99999/x?key=secret"
    pairs, _ = expand_inputs(
        [clips(tmp_path, 2)[0][0], f"file://{tmp_path}/empty.mp4", str(tmp_path / "none"), address]
    )
    items = list(run_all(pairs, settings))
    assert [item.document["input"] for item in items] == [
        "c0.mp4",
        "empty.mp4",
        "none",
        "rtsp://host:99999/x",
    ]


def test_a_link_in_a_folder_of_videos_that_leads_nowhere_fails_alone(tmp_path, settings):
    (tmp_path / "v").mkdir()
    clips(tmp_path / "v", 2)
    (tmp_path / "v" / "gone.mp4").symlink_to(tmp_path / "unmounted" / "x.mp4")
    (tmp_path / "v" / "loop.mp4").symlink_to(tmp_path / "v" / "loop.mp4")
    (tmp_path / "v" / "odd.mp4").symlink_to("n" * 300)  # cannot even be looked at, as where nobody may look
    (tmp_path / "v" / "odd.txt").symlink_to("n" * 300)
    pairs, several = expand_inputs([str(tmp_path / "v")])
    assert several
    items = list(run_all(pairs, settings))
    assert [(item.document["input"], item.code) for item in items] == [
        ("c0.mp4", 3),
        ("gone.mp4", 2),
        ("loop.mp4", 2),
        ("odd.mp4", 2),
    ]
    assert "gone.mp4: no such file" in items[1].answer
    assert "odd.mp4: cannot be read" in items[3].answer


def test_an_error_of_a_settings_file_names_the_clip_too(tmp_path, settings):
    camera = Path(__file__).parents[2] / "examples" / "camera.json"
    inputs = clips(tmp_path, 2, 2)
    for (source, _), item in zip(inputs, run_all(inputs, replace(settings, camera=camera)), strict=True):
        assert str(item.error).startswith(f"{source}: {camera}: the camera file is for another picture size")
        assert item.answer == f"error: {item.error}"


@pytest.mark.parametrize("name", ["overlay.mp4", "preview.png"])
def test_results_never_replace_an_input(tmp_path, settings, name):
    folder = settings.out / Path(name).stem
    folder.mkdir(parents=True)
    (source, _), other = clips(tmp_path, 2, 2)
    if name == "preview.png":
        cv2.imwrite(str(folder / name), makers.scene((160, 120), (60, 50)))
    else:
        shutil.copy(source, folder / name)
    before = (folder / name).read_bytes()
    pairs, _ = expand_inputs([str(folder / name), other[0]])
    for no_overlay in (False, True):
        items = list(run_all(pairs, replace(settings, no_overlay=no_overlay)))
        assert [item.code for item in items] == [2, 3]
        assert isinstance(items[0].error, ConfigError)
        assert "--out" in items[0].answer
        assert os.listdir(folder) == [name]
        assert (folder / name).read_bytes() == before


def test_results_never_replace_another_input_or_settings_file(tmp_path, settings):
    (source, _), *_ = clips(tmp_path, 2)
    folder = settings.out / "c0"
    folder.mkdir(parents=True)
    shutil.copy(source, folder / "overlay.mp4")
    (first, second) = run_all([(source, "c0"), (str(folder / "overlay.mp4"), "overlay")], settings)
    assert (first.code, second.code) == (2, 3)
    os.remove(folder / "overlay.mp4")
    model = shutil.copy(settings.model, folder / "height.json")
    (item,) = run_all([(source, "c0")], replace(settings, model=str(model)))
    assert (item.code, os.listdir(folder)) == (2, ["height.json"])


def test_results_never_lie_among_the_pictures(tmp_path, settings):
    pictures = settings.out / "pics"
    pictures.mkdir(parents=True)
    cv2.imwrite(str(pictures / "1.png"), makers.scene((160, 120), (60, 50)))
    pairs, _ = expand_inputs([str(pictures)])
    (item,) = run_all(pairs, settings)
    assert item.code == 2
    assert os.listdir(pictures) == ["1.png"]


def test_an_unexpected_error_does_not_stop_the_next(tmp_path, settings, monkeypatch):
    inputs = clips(tmp_path, 2, 2)
    height_of = results.height_of

    def broken(clip, *args):
        if clip.name == "c0.mp4":
            raise ZeroDivisionError("of something\nodd")
        return height_of(clip, *args)

    monkeypatch.setattr(results, "height_of", broken)
    items = list(run_all(inputs, settings))
    assert [item.code for item in items] == [2, 3]
    assert "c0.mp4: unexpected ZeroDivisionError: of something odd" in items[0].answer
    with pytest.raises(ZeroDivisionError):  # of the only input it is told as any other
        list(run_all(inputs[:1], settings))


def test_inputs_that_cannot_be_named_are_told_like_the_others(tmp_path, settings):
    (good, _), *_ = clips(tmp_path, 2)
    address = "rtsp://me:secret@host:99999/x?key=secret"
    pairs, several = expand_inputs([address, str(tmp_path / ("n" * 300 + ".mp4")), good])
    items = list(run_all(pairs, settings))
    assert several
    assert [item.code for item in items] == [2, 2, 3]
    assert "rtsp://host:99999/x" in items[0].answer
    assert "secret" not in items[0].answer + items[0].name
    assert "too long" in items[1].answer


def test_a_name_of_two_lines_becomes_one():
    assert expand_inputs(["two\nlines.mp4"])[0] == [("two\nlines.mp4", "two-lines")]


def test_a_camera_of_another_size_leaves_no_folder(tmp_path, settings):
    camera = Path(__file__).parents[2] / "examples" / "camera.json"
    (item,) = run_all(clips(tmp_path, 2), replace(settings, camera=camera))
    assert item.code == 2
    assert not settings.out.exists()


def test_a_network_that_cannot_be_loaded_stops_the_run(tmp_path, settings):
    (tmp_path / "p.onnx").write_bytes(b"nonsense")
    with pytest.raises(HeightposeError, match=r"p\.onnx"):
        list(run_all(clips(tmp_path, 2, 2), settings))


def test_stopped_while_drawing(tmp_path, settings, monkeypatch):
    """The answer is whole then; it is kept, marked, and nothing after it is begun."""
    write = results.write_overlay

    def slow(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        return write(*args, **kwargs)

    before = signal.getsignal(signal.SIGINT)  # a run in the background inherits an ignored SIGINT
    monkeypatch.setattr(results, "write_overlay", slow)
    (item,) = run_all(clips(tmp_path, 4, 4), settings)
    assert item.code == 130
    height = json.loads((settings.out / "c0" / "height.json").read_text())
    assert height == item.document
    assert height["interrupted"] is True
    assert height["frames"]["total"] == 4
    assert set(os.listdir(settings.out / "c0")) == {
        "height.json",
        "poses.json",
        "preview.png",
        "provenance.json",
    }
    assert signal.getsignal(signal.SIGINT) is before


def test_stopped_while_opening(tmp_path, settings, monkeypatch):
    hang = threading.Event()

    def hangs(source):
        os.kill(os.getpid(), signal.SIGINT)
        hang.wait(60)

    monkeypatch.setattr(batch, "open_clip", hangs)
    (item,) = run_all([("a.mp4", "a")], settings)
    hang.set()
    assert item.code == 130
    assert not settings.out.exists()


def test_stopped_while_reading(tmp_path, settings, monkeypatch):
    measure = batch.measure_clip

    def stopped(*args, watch, **kwargs):
        def then_stop(result, rgb):
            watch(result, rgb)
            if result.index == 10:
                os.kill(os.getpid(), signal.SIGINT)

        return measure(*args, watch=then_stop, **kwargs)

    monkeypatch.setattr(batch, "measure_clip", stopped)
    (item,) = run_all(clips(tmp_path, 40, 2), settings)
    assert item.code == 130
    assert item.document["interrupted"] is True
    assert item.document["frames"]["total"] == 11
    frames = json.loads((settings.out / "c0" / "poses.json").read_text())["frames"]
    assert len(frames) == item.document["frames"]["decoded"] == 11  # what was decoded ahead was not seen


class Grown(Clip):
    """Has one frame more, or fewer, each time it is read."""

    def __init__(self, count, change):
        self.name, self.kind, self.size_wh = "grown", "video", (160, 120)
        self._count, self._change = count, change

    def frames(self):
        for i in range(self._count):
            yield Frame(i, 0.1 * i, makers.scene((160, 120), (60, 50)))
        self._count += self._change


@pytest.mark.parametrize(("change", "drawn"), [(3, 5), (0, 5), (-2, 3)])
def test_a_file_that_changes_between_reading_and_drawing(tmp_path, settings, change, drawn):
    import av

    networks = Detector.load(settings.detector), PoseModel.load(settings.model)
    clip = Grown(5, change)
    outcome = session.measure_clip(clip, *networks, Scale())
    assert results.write_overlay(tmp_path / "o.mp4", clip, outcome, blur_faces=False)
    with av.open(str(tmp_path / "o.mp4")) as video:
        assert len(list(video.decode(video=0))) == drawn


class Gone(Grown):
    """Can be read once."""

    def frames(self):
        if not self._count:
            raise InputError("cannot be read any more", where=self.name)
        yield from super().frames()


def test_a_file_that_goes_before_it_is_drawn_is_measured_without_an_overlay(
    tmp_path, settings, monkeypatch, caplog
):
    monkeypatch.setattr(batch, "open_clip", lambda source: Gone(3, -3))
    (item,) = run_all([("x", "c")], settings)
    assert item.code == 3
    assert item.document == json.loads((settings.out / "c" / "height.json").read_text())
    assert "overlay.mp4" not in os.listdir(settings.out / "c")
    assert "no overlay was written: grown: cannot be read any more" in caplog.text


def test_a_file_that_is_replaced_is_not_drawn(tmp_path, settings, monkeypatch, caplog):
    """Its faces would not be where they are blurred."""
    (first, second) = clips(tmp_path, 4, 9)
    measure = batch.measure_clip

    def then_replaced(*args, **kwargs):
        outcome = measure(*args, **kwargs)
        os.replace(second[0], first[0])
        return outcome

    monkeypatch.setattr(batch, "measure_clip", then_replaced)
    (item,) = run_all([first], settings)
    assert item.document["frames"]["total"] == 4
    assert "overlay.mp4" not in os.listdir(settings.out / "c0")
    assert "no overlay was written: c0.mp4 is another file now" in caplog.text


@pytest.mark.parametrize("name", results.FILES)
@pytest.mark.parametrize("no_overlay", [False, True])
def test_a_folder_in_a_results_place_is_told(tmp_path, settings, name, no_overlay):
    (settings.out / "c0" / name).mkdir(parents=True)
    (item,) = run_all(clips(tmp_path, 2), replace(settings, no_overlay=no_overlay))
    assert item.code == 2
    assert f"{name}: cannot be " in item.answer
    assert not [path for path in os.listdir(settings.out / "c0") if path.startswith(".")]


def measured(monkeypatch):
    def measure(frames, camera, plane, **_):
        return Measurement(60.0, (59.0, 61.0), len(frames), len(frames), details={"a": 1})

    monkeypatch.setattr(body, "measure", measure)


@pytest.fixture
def outcome(settings, monkeypatch):
    """A clip of 12 frames, measured from at most 5 of them, with only the camera's height known."""
    measured(monkeypatch)
    monkeypatch.setattr(poselog, "MEASURE_FRAMES", 5)
    networks = Detector.load(settings.detector), PoseModel.load(settings.model)
    camera = Camera("pinhole", (160, 120), np.diag([200.0, 200.0, 1.0]), np.zeros(5))
    scale = Scale(camera=camera, plane=plane_from_height(150.0))
    return session.measure_clip(Grown(12, 0), *networks, scale)


def test_a_sample_is_not_mistaken_for_the_clip(outcome):
    assert (outcome.measurement.frames_total, outcome.measurement.frames_used) == (12, 5)
    assert outcome.measurement.details == {"a": 1, "frames_sampled": 5}


def test_a_height_alone_widens_the_interval_around_the_same_length(outcome):
    low, high = outcome.measurement.interval_cm
    assert outcome.measurement.length_cm == 60.0
    # 1 cm of its own and 1.645 * 3 % of 60 cm, added in quadrature; 6 % above, as an unknown tilt only shortens
    assert (60.0 - low, high - 60.0) == pytest.approx((np.hypot(1, 2.961), np.hypot(1, 5.922)), abs=1e-3)


def test_the_answer_says_what_of_a_recording_is_missing(outcome):
    clip = Grown(12, 0)
    assert "missing" not in results.height_of(clip, outcome, None, None)
    clip.leave_out("damaged", 12, "damaged after 12 frames")
    (missing,) = results.height_of(clip, outcome, None, None)["missing"]
    assert missing == {"code": "damaged", "after_frames": 12, "text": "damaged after 12 frames"}


def test_a_detector_with_another_output(tmp_path):
    from onnx import helper

    node = helper.make_node("Conv", ["image", "w"], ["out"], strides=[8, 8], kernel_shape=[8, 8])
    constants = {"w": np.zeros((6, 3, 8, 8))}
    meta = {"kind": "detector", "input_wh": [256, 256]}
    path = makers._save(tmp_path / "six.onnx", [node], constants, ("out", ["n", 6, 32, 32]), meta)
    with pytest.raises(FileFormatError, match=r"expected \(1, 7, 32, 32\), got \(1, 6, 32, 32\)"):
        Detector.load(str(path)).detect([np.zeros((120, 160, 3), np.uint8)])


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_network_that_takes_another_input_size(tmp_path, backend):
    path = makers.tiny_detector(tmp_path / "d.onnx")
    lying = path.read_bytes().replace(b"[256, 256]", b"[128, 128]")
    path.write_bytes(lying)
    with pytest.raises(FileFormatError, match=r"d\.onnx"):
        Detector.load(str(path), backend).detect([np.zeros((120, 160, 3), np.uint8)])


def test_boxes_stay_near_the_frame(tmp_path):
    wide = Detector.load(str(makers.tiny_detector(tmp_path / "d.onnx", reach=1e4)))
    ((found,),) = wide.detect([makers.scene((160, 120), (60, 50))])
    np.testing.assert_array_equal(found.bbox_xyxy, [-160, -120, 320, 240])


def test_the_bars_of_the_letterbox_hold_nobody(tmp_path, monkeypatch):
    detector = Detector.load(str(makers.tiny_detector(tmp_path / "d.onnx")))
    answer = np.zeros((1, 7, 32, 32), np.float32)
    answer[:, 1:5], answer[:, 6] = 0.1, 1.0
    answer[:, 0, 4:7, 15:18] = 0.9  # above a frame ten times as wide as high
    answer[:, 0, 15:18, 15:18] = 0.8
    answers = [answer]  # closer, nobody is there
    monkeypatch.setattr(
        detector.backend, "run", lambda batch: answers.pop() if answers else np.zeros_like(answer)
    )
    (found,) = detector.detect([np.zeros((40, 400, 3), np.uint8)])
    (middle,) = (d.bbox_xyxy.reshape(2, 2).mean(axis=0) for d in found)
    assert 0 < middle[1] < 40
