"""Decoding: order, times, turning, and every kind of input that is not what it should be."""

from __future__ import annotations

import io
import logging
import os
import threading
import zlib
from fractions import Fraction

import av
import cv2
import makers
import numpy as np
import PIL.Image
import pytest
from tqdm import tqdm

from heightpose.errors import InputError
from heightpose.runtime import video
from heightpose.runtime.address import is_address, local_path, without_login
from heightpose.runtime.clip import Clock
from heightpose.runtime.video import open_clip


def moving(count, size_wh=(96, 64)):
    return [makers.scene(size_wh, (10 + 3 * i, 20)) for i in range(count)]


def blob_centre(rgb):
    ys, xs = np.nonzero(rgb.mean(axis=2) > 140)
    return xs.mean(), ys.mean()


def test_frames_come_in_order_with_size_rate_and_times(tmp_path):
    path = makers.write_video(tmp_path / "a.mp4", moving(12), fps=Fraction(30000, 1001))
    with open_clip(path) as clip:
        frames = list(clip.frames())
    assert clip.size_wh == (96, 64)
    assert clip.rotation_deg == 0
    assert clip.fps == Fraction(30000, 1001)  # not 29, not 30
    assert clip.length_hint == 12
    assert [f.index for f in frames] == list(range(12))
    np.testing.assert_allclose([f.t_s for f in frames], np.arange(12) * 1001 / 30000, atol=1e-4)
    for i, frame in enumerate(frames):
        assert frame.rgb.shape == (64, 96, 3)
        np.testing.assert_allclose(blob_centre(frame.rgb), (10 + 3 * i, 20), atol=0.6)


def test_a_clip_can_be_read_twice(tmp_path):
    path = makers.write_video(tmp_path / "a.mp4", moving(7))
    with open_clip(path) as clip:
        first, second = list(clip.frames()), list(clip.frames())
    assert len(first) == len(second) == 7
    assert all(np.array_equal(a.rgb, b.rgb) and a.t_s == b.t_s for a, b in zip(first, second, strict=True))


def test_variable_frame_rate_is_kept(tmp_path):
    times = [0.0, 0.04, 0.3, 0.35, 1.2, 1.25, 1.9]
    path = makers.write_video(tmp_path / "vfr.mp4", moving(7), times_s=times)
    with open_clip(path) as clip:
        np.testing.assert_allclose([f.t_s for f in clip.frames()], times, atol=1e-4)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_turns_the_picture_clockwise(tmp_path, degrees):
    stored = makers.scene((96, 64), (20, 12))
    path = makers.write_video(tmp_path / "r.mp4", [stored] * 4, matrix=makers.CLOCKWISE[degrees])
    with open_clip(path) as clip:
        frame = next(clip.frames())
    expected = np.rot90(stored, -degrees // 90)
    assert clip.rotation_deg == degrees
    assert clip.size_wh == (expected.shape[1], expected.shape[0]) == (frame.rgb.shape[1], frame.rgb.shape[0])
    np.testing.assert_allclose(blob_centre(frame.rgb), blob_centre(expected), atol=0.5)


@pytest.mark.parametrize(
    ("stated", "degrees", "expected"),
    [
        (None, 0, 1.0),
        (Fraction(16, 15), 0, 16 / 15),
        (Fraction(16, 15), 90, 15 / 16),
        (Fraction(12, 11), 180, 12 / 11),
        (Fraction(100, 1), 0, 1.0),
    ],
)
def test_pixels_have_the_shape_the_file_states(tmp_path, stated, degrees, expected):
    matrix = makers.CLOCKWISE[degrees] if degrees else None
    path = makers.write_video(tmp_path / "p.mp4", [makers.scene()] * 2, matrix=matrix, pixel_aspect=stated)
    with open_clip(path) as clip:
        assert clip.pixel_aspect == pytest.approx(expected)


@pytest.mark.parametrize(
    ("across", "down", "degrees"),
    [((-1, 0), (0, 1), 0), ((0, 1), (1, 0), 90), ((1, 0), (0, -1), 180), ((0, -1), (-1, 0), 270)],
)
def test_mirrored_metadata_turns_as_a_picture_s_and_mirrors_nothing(tmp_path, caplog, across, down, degrees):
    """``across`` and ``down``: where the matrix takes the stored picture's axes. Exif's 2, 5, 4 and 7."""
    stored = makers.scene((96, 64), (20, 12))
    (a, b), (c, d) = ((makers.ONE * x, makers.ONE * y) for x, y in (across, down))
    path = makers.write_video(tmp_path / "m.mp4", [stored] * 3, matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    with open_clip(path) as clip:
        frame = next(clip.frames())
    assert "mirrored" in caplog.text
    assert clip.rotation_deg == degrees
    np.testing.assert_allclose(
        blob_centre(frame.rgb), blob_centre(np.rot90(stored, -degrees // 90)), atol=0.5
    )


def test_a_rotation_matrix_of_zeros_turns_nothing(tmp_path, caplog):
    path = makers.write_video(tmp_path / "r.mp4", [makers.scene()] * 2, matrix=(0,) * 9)
    with open_clip(path) as clip:
        assert clip.rotation_deg == 0
    assert caplog.text == ""


def test_odd_sizes(tmp_path):
    path = makers.write_video(tmp_path / "odd.mp4", moving(3, (97, 65)))
    with open_clip(path) as clip:
        frame = next(clip.frames())
    assert clip.size_wh == (97, 65)
    np.testing.assert_allclose(blob_centre(frame.rgb), (10, 20), atol=0.6)


@pytest.mark.parametrize("pix_fmt", ["gray", "yuv420p10le", "yuv444p10le", "yuvj420p"])
def test_grey_and_ten_bit(tmp_path, pix_fmt):
    path = makers.write_video(tmp_path / "v.mp4", moving(3), pix_fmt=pix_fmt)
    with open_clip(path) as clip:
        frame = next(clip.frames())
    assert frame.rgb.dtype == np.uint8
    assert frame.rgb.shape == (64, 96, 3)
    np.testing.assert_allclose(blob_centre(frame.rgb), (10, 20), atol=0.8)
    assert frame.rgb[20, 10].min() > 240
    assert frame.rgb[50, 80].max() < 45


def test_colours_are_rgb(tmp_path):
    red = np.zeros((64, 96, 3), np.uint8)
    red[..., 0] = 220
    path = makers.write_video(tmp_path / "red.mp4", [red] * 2)
    cv2.imwrite(str(tmp_path / "red.png"), red[..., ::-1])
    for source in (path, tmp_path / "red.png"):
        with open_clip(source) as clip:
            r, g, b = next(clip.frames()).rgb.reshape(-1, 3).mean(axis=0)
        assert r > 180
        assert max(g, b) < 40


def cut(path, share, name="cut.mp4"):
    data = path.read_bytes()
    target = path.with_name(name)
    target.write_bytes(data[: int(len(data) * share)])
    return target


def noisy(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(count)]


def test_a_cut_off_file_is_used_up_to_the_damage(tmp_path, caplog):
    whole = makers.write_video(tmp_path / "w.mp4", noisy(40), container={"movflags": "faststart"})
    with open_clip(whole) as clip:
        truth = [f.rgb for f in clip.frames()]
    caplog.set_level(logging.WARNING)
    with open_clip(cut(whole, 0.6)) as clip:
        seen = [f.rgb for f in clip.frames()]
    assert 10 < len(seen) < 40
    assert all(np.array_equal(a, b) for a, b in zip(seen, truth, strict=False))  # nothing invented
    assert "cut.mp4" in caplog.text
    assert str(len(seen)) in caplog.text


def test_cut_off_transport_streams_and_matroska(tmp_path):
    for suffix in (".mkv", ".ts"):
        whole = makers.write_video(tmp_path / f"w{suffix}", noisy(40), pix_fmt="yuv420p")
        with open_clip(cut(whole, 0.5, f"cut{suffix}")) as clip:
            assert 5 < len(list(clip.frames())) < 40


def test_damage_in_the_middle_is_left_out(tmp_path):
    whole = makers.write_video(tmp_path / "w.mkv", noisy(40), pix_fmt="yuv420p")
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    (tmp_path / "d.mkv").write_bytes(data)
    with open_clip(tmp_path / "d.mkv") as clip:
        frames = list(clip.frames())
    assert 5 < len(frames) < 40


@pytest.mark.parametrize("lost", [376, 400, 777])
def test_a_recording_that_lost_a_packet_is_read_on_at_a_key_frame(tmp_path, caplog, lost):
    """What a network camera's recorder keeps; all after the first lost packet was passed over before."""
    whole = makers.write_video(tmp_path / "w.ts", noisy(40), pix_fmt="yuv420p")
    with open_clip(whole) as clip:
        truth = {round(f.t_s, 3): f.rgb for f in clip.frames()}
    data = whole.read_bytes()
    (tmp_path / "lost.ts").write_bytes(data[: 188 * lost] + data[188 * (lost + 1) :])
    with open_clip(tmp_path / "lost.ts") as clip:
        seen = {round(f.t_s, 3): f.rgb for f in clip.frames()}
    assert 25 < len(seen) < 40
    assert "lost.ts: damaged after" in caplog.text
    assert "up to the next key frame" in caplog.text
    after = [t_s for t_s in seen if t_s > min(truth.keys() - seen.keys())]
    assert len(after) > 5
    assert all(np.array_equal(seen[t_s], truth[t_s]) for t_s in after)  # nothing rests on what is missing


def test_joined_transport_streams_are_read_to_the_end(tmp_path, caplog):
    part = makers.write_video(tmp_path / "part.ts", noisy(20), pix_fmt="yuv420p").read_bytes()
    (tmp_path / "joined.ts").write_bytes(3 * part)
    with open_clip(tmp_path / "joined.ts") as clip:
        times_s = [f.t_s for f in clip.frames()]
    assert 36 <= len(times_s) <= 60
    assert np.all(np.diff(times_s) > 0)
    assert "damaged in 2 places" in caplog.text
    assert [part.code for part in clip.missing] == ["damaged", "damaged"]


def test_a_recording_that_changes_its_size_is_used_up_to_there(tmp_path, caplog):
    large = makers.write_video(tmp_path / "a.ts", moving(12), pix_fmt="yuv420p")
    small = makers.write_video(tmp_path / "b.ts", moving(12, (48, 32)), pix_fmt="yuv420p")
    (tmp_path / "joined.ts").write_bytes(large.read_bytes() + small.read_bytes())
    with open_clip(tmp_path / "joined.ts") as clip:
        assert clip.missing == ()
        frames = len(list(clip.frames()))
        missing = clip.missing
        list(clip.frames())
    assert clip.missing == missing  # a second pass tells nothing anew
    assert missing[-1].code == "picture_size"
    assert missing[-1].after_frames == frames
    assert caplog.text.count("changes from 96x64 to 48x32") == 1


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx")])
def test_what_is_missing_of_a_file_is_noted(tmp_path, suffix, codec):
    container = {"movflags": "faststart"} if suffix == "mp4" else {}
    whole = makers.write_video(
        tmp_path / f"w.{suffix}", noisy(20), pix_fmt="yuv420p", codec=codec, container=container
    )
    with open_clip(whole) as clip:
        list(clip.frames())
    assert clip.missing == ()
    with open_clip(cut(whole, 0.6, f"cut.{suffix}")) as clip:
        frames = len(list(clip.frames()))
    assert clip.missing[-1].code == "cut_short"
    assert clip.missing[-1].after_frames == frames


def unusable_inputs(tmp_path):
    """name -> (path, words the message must hold)."""
    whole = makers.write_video(tmp_path / "w.mp4", noisy(20))
    index_last = cut(whole, 0.7, "noindex.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(20000))
    (tmp_path / "words.txt").write_text("this is no video\n" * 50)
    # Of a recorder that was cut off: without its end mark it would be read again and again.
    (tmp_path / "recording.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.4,\nfile:whole.ts\n"
    )
    (tmp_path / "empty.png").touch()
    (tmp_path / "noise.jpg").write_bytes(np.random.default_rng(1).bytes(2000))
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (tmp_path / "nothing").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    with av.open(str(tmp_path / "zero.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        out.start_encoding()
    return {
        "missing": (tmp_path / "absent.mp4", "no such file"),
        "empty": (tmp_path / "empty.mp4", "empty"),
        "noise": (tmp_path / "noise.mp4", "not a video"),
        "text": (tmp_path / "words.txt", "text|not a video"),
        "sound": (makers.write_audio(tmp_path / "sound.m4a"), "sound but no picture"),
        "playlist": (tmp_path / "recording.m3u8", "a playlist"),
        "no index": (index_last, "not a video"),
        "no frames": (tmp_path / "zero.mp4", "no picture|not a video"),
        "empty picture": (tmp_path / "empty.png", "empty"),
        "noise picture": (tmp_path / "noise.jpg", "not a picture"),
        "heic": (tmp_path / "photo.heic", "JPEG"),
        "empty folder": (tmp_path / "nothing", "no pictures"),
        "pipe": (tmp_path / "pipe.mp4", "ordinary file"),
        "name": (tmp_path / "a\0b.mp4", "cannot be read"),
    }


def test_unusable_inputs_are_one_clear_line(tmp_path):
    for name, (path, words) in unusable_inputs(tmp_path).items():
        with pytest.raises(InputError, match=words) as caught, open_clip(path) as clip:
            list(clip.frames())
        message = str(caught.value)
        assert "\n" not in message, name
        assert path.name in message, name
        assert caught.value.hint is not None, name


def test_a_file_that_gives_nothing_for_long_is_given_up(tmp_path, monkeypatch):
    """Zeros, as of a recorder that takes its room first: searched for a start code to their end."""
    path = tmp_path / "zeros.h264"
    path.touch()
    os.truncate(path, 1 << 42)
    monkeypatch.setattr(video, "_FILE_TIMEOUT_S", 0.2)
    with pytest.raises(InputError, match="not a video that can be decoded"):
        open_clip(path)


def test_a_folder_is_one_clip_in_natural_order(tmp_path):
    for i in (10, 9, 2, 1):
        cv2.imwrite(str(tmp_path / f"frame{i}.png"), makers.scene(blob_xy=(5 * i + 10, 20)))
    (tmp_path / "camera.json").write_text("{}")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    with open_clip(tmp_path) as clip:
        frames = list(clip.frames())
    assert clip.kind == "folder"
    assert clip.length_hint == 4
    np.testing.assert_allclose([blob_centre(f.rgb)[0] for f in frames], [15, 20, 55, 60], atol=0.01)
    assert np.all(np.diff([f.t_s for f in frames]) > 0)


def test_pictures_of_two_sizes_are_an_error_naming_the_file(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), makers.scene((96, 64)))
    cv2.imwrite(str(tmp_path / "b.png"), makers.scene((64, 96)))
    with open_clip(tmp_path) as clip, pytest.raises(InputError, match=r"b\.png.*expected 96x64.*got 64x96"):
        list(clip.frames())


def exif_block(orientation, order):
    words = (
        (b"II*\0" if order == "<" else b"MM\0*")
        + (8).to_bytes(4, "little" if order == "<" else "big")
        + b"".join(
            value.to_bytes(size, "little" if order == "<" else "big")
            for value, size in ((1, 2), (0x0112, 2), (3, 2), (1, 4), (orientation, 2), (0, 2), (0, 4))
        )
    )
    return words


def jpeg_with_exif(picture, orientation):
    """With a byte before the segment that only fills, as the format allows."""
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    block = b"Exif\0\0" + exif_block(orientation, ">")
    return data[:2] + b"\xff\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:]


def png_with_exif(picture, orientation):
    data, block = cv2.imencode(".png", picture)[1].tobytes(), exif_block(orientation, "<")
    chunk = len(block).to_bytes(4, "big") + b"eXIf" + block
    return data[:33] + chunk + zlib.crc32(chunk[4:]).to_bytes(4, "big") + data[33:]


def tiff_with_exif(picture, orientation):
    data = io.BytesIO()
    PIL.Image.fromarray(picture).save(data, "TIFF", tiffinfo={0x0112: orientation})
    return data.getvalue()


@pytest.mark.parametrize(
    ("orientation", "degrees"),
    [(1, 0), (3, 180), (6, 90), (8, 270), (2, 0), (4, 180), (5, 90), (7, 270)],  # the last four mirrored
)
@pytest.mark.parametrize(
    ("kind", "write"), [(".jpg", jpeg_with_exif), (".png", png_with_exif), (".tif", tiff_with_exif)]
)
def test_exif_orientation_is_applied_and_reported(tmp_path, caplog, orientation, degrees, kind, write):
    stored = makers.scene((96, 64), (20, 12))
    (tmp_path / f"p{kind}").write_bytes(write(stored, orientation))
    with open_clip(tmp_path / f"p{kind}") as clip:
        frame = next(clip.frames())
    expected = np.rot90(stored, -degrees // 90)
    assert clip.rotation_deg == degrees
    assert frame.rgb.shape == expected.shape
    np.testing.assert_allclose(blob_centre(frame.rgb), blob_centre(expected), atol=0.1)
    assert ("marked as mirrored" in caplog.text) == (orientation in (2, 4, 5, 7))


def test_a_picture_that_the_camera_took_held_another_way_is_an_error_that_says_so(tmp_path):
    for name, orientation in (("a.jpg", 1), ("b.jpg", 3)):
        (tmp_path / name).write_bytes(jpeg_with_exif(makers.scene((96, 64)), orientation))
    with (
        open_clip(tmp_path) as clip,
        pytest.raises(InputError, match=r"b\.jpg.*turned by 180.*held another way"),
    ):
        list(clip.frames())


@pytest.mark.parametrize(("orientation", "degrees"), [(1, 0), (3, 180), (6, 90)])
def test_a_video_of_jpegs_with_exif_is_read_and_turned(tmp_path, orientation, degrees):
    stored = makers.scene((96, 64), (20, 12))
    with av.open(str(tmp_path / "v.avi"), "w") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for i in range(3):
            packet = av.Packet(jpeg_with_exif(stored, orientation))
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, i, i, Fraction(1, 10)
            out.mux(packet)
    with open_clip(tmp_path / "v.avi") as clip:
        frames = list(clip.frames())
    assert (len(frames), clip.rotation_deg) == (3, degrees)
    expected = np.rot90(stored, -degrees // 90)
    np.testing.assert_allclose(blob_centre(frames[0].rgb), blob_centre(expected), atol=0.3)


def test_a_cut_off_picture_is_refused_and_libraries_keep_quiet(tmp_path, capfd):
    for suffix in (".jpg", ".png"):
        data = cv2.imencode(suffix, noisy(1)[0])[1].tobytes()
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(data[: len(data) * 2 // 3])
        with pytest.raises(InputError, match=f"cut{suffix}: (the picture is cut off|this is not a picture)"):
            open_clip(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("before", "after"), [("\rscan:  10%|#", "\rscan:  20%|##"), ("warning: of another\n", "")]
)
def test_damage_is_told_whatever_other_threads_write(tmp_path, capfd, monkeypatch, before, after):
    path = tmp_path / "p.jpg"
    path.write_bytes(cv2.imencode(".jpg", noisy(1)[0])[1].tobytes())
    whole = cv2.imdecode

    def decode(data, flags):
        os.write(2, before.encode())
        os.write(2, b"Corrupt JPEG data: premature end of data segment\n")
        os.write(2, after.encode())
        return whole(data, flags)

    monkeypatch.setattr(cv2, "imdecode", decode)
    with pytest.raises(InputError, match="the picture is cut off"):
        open_clip(path)
    assert capfd.readouterr().err == before + after


def test_the_progress_bar_waits_for_a_picture(tmp_path, capfd, monkeypatch):
    cv2.imwrite(str(tmp_path / "p.png"), makers.scene())
    whole, bar = cv2.imdecode, tqdm(total=9, mininterval=0, miniters=1, file=os.fdopen(os.dup(2), "w"))
    writer = threading.Thread(target=bar.update)

    def decode(data, flags):
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()
        return whole(data, flags)

    monkeypatch.setattr(cv2, "imdecode", decode)
    with open_clip(tmp_path / "p.png"):
        writer.join(10)
    bar.close()
    assert not writer.is_alive()


def test_sixteen_bit_grey_picture(tmp_path):
    cv2.imwrite(str(tmp_path / "g.png"), makers.scene()[..., 0].astype(np.uint16) * 257)
    with open_clip(tmp_path / "g.png") as clip:
        rgb = next(clip.frames()).rgb
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, makers.scene())


def test_file_addresses(tmp_path):
    assert local_path("file://localhost/a/b%20c.mp4") == "/a/b c.mp4"
    assert local_path("FILE:///a/100%.mp4") == "/a/100%.mp4"
    assert local_path("file:///a/caf%E9#1.mp4") == "/a/caf\udce9#1.mp4"
    assert local_path("localhost/b%20c.mp4") == "localhost/b%20c.mp4"  # a path, as it is
    cv2.imwrite(str(tmp_path / "a b.png"), makers.scene())
    with open_clip(f"file://localhost{tmp_path}/a%20b.png") as clip:
        assert clip.name == "a b.png"


def test_addresses():
    assert is_address("rtsp://camera/1")
    assert is_address("https://host/clip.mp4")
    assert not is_address("C:/clip.mp4")
    assert not is_address("file:///clip.mp4")
    assert without_login("rtsp://me:secret@camera:554/live?token=1") == "rtsp://camera:554/live"
    assert without_login("rtsp://[::1]:8554/x") == "rtsp://[::1]:8554/x"
    hidden = without_login(
        "rtsp://h/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp?authkey=x&channel=2&subtype=0"
    )
    assert hidden == "rtsp://h/user=_password=_channel=1_stream=0.sdp?channel=2&subtype=0"


def test_a_stream_that_does_not_answer(tmp_path):
    with pytest.raises(InputError, match="does not answer") as caught:
        open_clip("tcp://me:secret@127.0.0.1:9/x")
    assert "secret" not in str(caught.value)


def test_the_clock_carries_on_where_timestamps_fail():
    clock = Clock(Fraction(10), from_zero=False)
    base = Fraction(1, 1000)
    ticks = [500, 600, None, 650, 10**18, 850, 850]
    np.testing.assert_allclose([clock.seconds(t, base) for t in ticks], [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1])
    live = Clock(None, from_zero=True)
    np.testing.assert_allclose([live.seconds(t, base) for t in (7000, 7040, 7500)], [0, 0.04, 0.5])


def test_a_title_in_another_encoding(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "QQQQ"
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(
            stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24"))
        )
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"QQQQ", b"\xf6\xe4QQ"))
    with open_clip(path) as clip:
        assert len(list(clip.frames())) == 1


def test_a_clip_that_was_trimmed_without_encoding_is_whole(tmp_path, caplog):
    """Frames before the cut are stored, for decoding, and an edit list leaves them out."""
    whole = makers.write_video(tmp_path / "w.mp4", moving(40), options={"g": "40", "bf": "0"})
    with av.open(str(whole)) as source, av.open(str(tmp_path / "t.mp4"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None:
                continue
            packet.pts -= round(2.0 / packet.time_base)
            packet.dts -= round(2.0 / packet.time_base)
            packet.stream = stream
            out.mux(packet)
    with open_clip(tmp_path / "t.mp4") as clip:
        assert clip.length_hint == pytest.approx(20, abs=1)
        assert len(list(clip.frames())) == pytest.approx(20, abs=1)
    assert caplog.text == ""


def test_of_several_videos_the_one_that_players_show_is_read(tmp_path):
    with av.open(str(tmp_path / "two.mkv"), "w") as out:
        streams = []
        for size_wh in ((32, 16), (96, 64)):
            stream = out.add_stream("libx264", rate=10)
            stream.width, stream.height = size_wh
            stream.pix_fmt = "yuv420p"
            streams.append(stream)
        streams[0].disposition, streams[1].disposition = 0, av.stream.Disposition.default
        for stream in streams:
            for i in range(3):
                picture = makers.scene((stream.width, stream.height))
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 10)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    with open_clip(tmp_path / "two.mkv") as clip:
        assert clip.size_wh == (96, 64)


def test_a_warning_is_not_repeated_by_the_second_pass(tmp_path, caplog):
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg_with_exif(makers.scene(), 2))
    with open_clip(tmp_path) as clip:
        assert len(list(clip.frames())) == len(list(clip.frames())) == 3
    assert caplog.text.count("marked as mirrored") == 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_of_several_pictures_in_a_file_the_first_is_read_and_that_is_told(tmp_path, caplog, kind):
    first, *more = (PIL.Image.fromarray(picture) for picture in moving(3))
    first.save(tmp_path / f"one.{kind}", kind)
    with open_clip(tmp_path / f"one.{kind}"):
        assert caplog.text == ""
    first.save(tmp_path / f"many.{kind}", kind, save_all=True, append_images=more)
    with open_clip(tmp_path / f"many.{kind}") as clip:
        assert len(list(clip.frames())) == 1
    assert f"many.{kind}: holds several pictures" in caplog.text


def test_a_picture_beyond_the_limit_is_called_too_large(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "p.png"), makers.scene())

    def refuse(*_):
        raise cv2.error(
            "(-215:Assertion failed) pixels <= CV_IO_MAX_IMAGE_PIXELS in function 'validateInputImageSize'"
        )

    monkeypatch.setattr(cv2, "imdecode", refuse)
    with pytest.raises(InputError, match=r"the picture is larger than .* Make it smaller"):
        open_clip(tmp_path / "p.png")


def test_a_folder_of_pictures_that_are_not_read_says_which(tmp_path):
    (tmp_path / "IMG_1.HEIC").touch()
    with pytest.raises(InputError, match=r"no pictures that can be read, \.heic alone\. Save them as JPEG"):
        open_clip(tmp_path)
