"""Video in: decoded in order, with the stream's own timestamps, turned as its metadata says.

A stream that has none that mean anything, such as a camera's JPEGs over HTTP, gets the times of its pictures' arrival.

Never by seeking: seeking lands on different frames in different containers, and a measurement must see the
same frames every time. Never an integer rate: phones record at a varying one.
"""

from __future__ import annotations

import logging
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from heightpose.errors import InputError
from heightpose.runtime import arrival, stated
from heightpose.runtime.address import called, is_address, local_path, require_possible
from heightpose.runtime.clip import NO_PICTURE, Clip, Clock, Frame, turn
from heightpose.runtime.stills import PICTURE_SUFFIXES, UNREAD_SUFFIXES, StillsClip, list_folder
from heightpose.words import one_line

__all__ = ["VIDEO_SUFFIXES", "Clip", "Frame", "VideoClip", "open_clip"]

log = logging.getLogger("heightpose")

#: Used to tell videos from other files in a folder. A file given by name is tried whatever its suffix.
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".m2v", ".vob",
    ".ts", ".m2t", ".mts", ".m2ts", ".mxf", ".3gp", ".3g2", ".wmv", ".asf", ".flv", ".f4v", ".ogv",
    ".ogg", ".gif", ".h264", ".264", ".h265", ".265", ".hevc", ".mjpeg", ".mjpg", ".dav",
))  # fmt: skip

#: Seconds to wait for an address to answer or to send the next packet, and for a file to.
_TIMEOUT_S, _FILE_TIMEOUT_S = 10.0, 30.0
_RETRIES = 3
_RETRY_WAIT_S = 1.0

#: Width of a pixel over its height, or the other way round: what is stated beyond is a mistake.
_MOST_STRETCHED = 4.0

#: How an HLS playlist begins (RFC 8216, 4.3.1.1).
_PLAYLIST = b"#EXTM3U"

_ERRORS = (av.FFmpegError, OSError, ValueError)


def open_clip(source: str | Path, *, stills_upright: bool = True) -> Clip:
    """Open a video file, a picture, a folder of pictures or a stream address, and read its first frame.

    Args:
        stills_upright: turn pictures as their orientation tags say, see :class:`StillsClip`.

    Raises:
        InputError: there is nothing there, or nothing that can be decoded.
    """
    if isinstance(source, str) and is_address(source):
        require_possible(source)
        return VideoClip(source, called(source), live=True)
    named = local_path(source)
    if not named:  # would be the current folder
        raise InputError(
            "the name of an input is empty", hint="Give a video, a picture, a folder or an address"
        )
    path = Path(named)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InputError("no such file or folder", where=path, hint="Check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", where=path, hint="Check the path") from error
    if stat.S_ISDIR(mode):
        return StillsClip(_pictures_in(path), called(path), "folder", upright=stills_upright)
    if not stat.S_ISREG(mode):  # a device or a pipe would be read for ever
        raise InputError("not an ordinary file", where=path, hint="Give a video file or a stream address")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return StillsClip([path], called(path), "image", upright=stills_upright)
    if path.suffix.lower() in UNREAD_SUFFIXES:
        # These decode tile by tile; a single tile would pass for the picture.
        raise InputError("this picture format is not read", where=path, hint="Save it as JPEG or PNG")
    # As long as it is now: a file that is still being written would be followed for ever, or be another one when it
    # is read for the overlay.
    whole = f"subfile,,start,0,end,{_video_bytes(path)},,:file:{path}"
    return VideoClip(whole, called(path), live=False, paths=(path,))


def _pictures_in(folder: Path) -> list[Path]:
    """A folder's pictures in order. InputError where there are none."""
    files = list_folder(folder)
    pictures = [p for p in files if p.suffix.lower() in PICTURE_SUFFIXES]
    if pictures:
        return pictures
    unread = sorted({p.suffix.lower() for p in files} & UNREAD_SUFFIXES)
    raise InputError(
        "the folder holds no pictures" + (f" that can be read, {', '.join(unread)} alone" if unread else ""),
        where=folder,
        hint="Save them as JPEG or PNG" if unread else "Give a video or a folder of pictures",
    )


def _video_bytes(path: Path) -> int:
    """The size of a video file. InputError where it cannot be read, holds nothing or is a playlist."""
    try:
        with path.open("rb") as file:
            begins = file.read(len(_PLAYLIST))
            size = file.seek(0, 2)
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=path, hint="Check its permissions"
        ) from error
    if size == 0:
        raise InputError("the file is empty", where=path, hint="Copy or record it again")
    # One without an end would be read again and again, and its hash is not that of the pictures.
    if begins == _PLAYLIST:
        raise InputError(
            "a playlist names videos and is none",
            where=path,
            hint="Give the videos that it names, or its web address",
        )
    return size


class VideoClip(Clip):
    """A video file or stream address; see :class:`Clip`.

    What is damaged in a file is left out with a warning, up to the next key frame or, where none follows, to the end.
    """

    def __init__(self, target: str, name: str, *, live: bool, paths: tuple[Path, ...] = ()) -> None:
        self.paths = paths
        self.note_files()
        self._where: object = paths[0] if paths else name
        self._target, self.name, self.live = target, name, live
        self.kind = "stream" if live else "video"
        # A camera may come back, a web file would begin again; of web addresses the stream itself tells.
        self._returns = live and not target.startswith("http")
        self._by_arrival = False
        self._stated_frames, self._stated_end_s, self._stored_aspect = 0, 0.0, 1.0
        self._pass: Iterator[av.VideoFrame] | None = self._decode()
        try:
            first = next(self._pass)
        except StopIteration:
            raise InputError(
                "the video holds no picture that can be decoded",
                where=self._where,
                hint="Copy or record it again",
            ) from None
        self._first: av.VideoFrame | None = first
        self._stored_wh = (first.width, first.height)
        self.rotation_deg = self._rotation(first)
        upright = self.rotation_deg % 180 == 0
        self.size_wh = self._stored_wh if upright else (first.height, first.width)
        if 1 / _MOST_STRETCHED <= self._stored_aspect <= _MOST_STRETCHED:
            self.pixel_aspect = self._stored_aspect if upright else 1 / self._stored_aspect
        self.length_hint = self._stated_frames or None

    def frames(self) -> Iterator[Frame]:
        return self.chosen(lambda index, t_s: True)

    def chosen(
        self, wanted: Callable[[int, float], bool], past: Callable[[float], bool] = lambda t_s: False
    ) -> Iterator[Frame]:
        clock = Clock(self.fps, from_zero=self.live)
        index, t_s = 0, 0.0
        for frame in self._av_frames():
            if (frame.width, frame.height) != self._stored_wh:
                self._leave_out_size(index, (frame.width, frame.height))
                return
            t_s = clock.seconds(frame.pts if frame.pts is not None else frame.dts, frame.time_base)
            if past(t_s):
                return
            rgb = turn(_rgb(frame), self.rotation_deg) if wanted(index, t_s) else NO_PICTURE
            yield Frame(index, t_s, rgb)
            index += 1
        if not self.live:
            self._leave_out_end(index, t_s)

    def close(self) -> None:
        if self._pass is not None:
            self._pass.close()  # type: ignore[attr-defined]
        self._pass = self._first = None

    def _av_frames(self) -> Iterator[av.VideoFrame]:
        if self._pass is None:
            if self.live:
                raise InputError("a stream can be read only once", where=self._where)
            yield from self._decode()
            return
        decoding, first = self._pass, self._first
        self._pass = self._first = None
        if first is not None:
            yield first
        yield from decoding

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Frames of one pass. Raises InputError if not even the first can be had."""
        given, tries = 0, 0
        while True:
            trouble: Exception | None = None
            try:
                for frame in self._decode_once():
                    tries, given = 0, given + 1
                    yield frame
            except _ERRORS as error:
                trouble = error
            except InputError as error:  # a stream that returns without a picture has dropped once more
                if given == 0:
                    raise
                trouble = error
            if given == 0 and trouble is not None:
                raise self._unreadable(trouble) from trouble
            if given == 0 or not self._returns:
                if trouble is not None:
                    self._leave_out_damage(given, self._why(trouble), "The frames before are used")
                return
            tries += 1
            why = "it ended" if trouble is None else self._why(trouble)
            if tries > _RETRIES:
                self.leave_out("stream_gone", given, f"gone after {given} frames ({why})")
                return
            log.warning("%s: dropped (%s); trying again, %d of %d", self.name, why, tries, _RETRIES)
            time.sleep(tries * _RETRY_WAIT_S)

    def _decode_once(self) -> Iterator[av.VideoFrame]:
        timeout = self._timeout_s
        # Titles in other encodings than UTF-8 are no reason not to look at the pictures.
        container = av.open(
            self._target, "r", options=self._options(), timeout=timeout, metadata_errors="replace"
        )
        with container:
            stream = self._picture_stream(container)
            packets = container.demux(stream)
            if not self._by_arrival:
                if self.live:
                    for packet in packets:
                        yield from packet.decode()
                else:
                    yield from self._decode_sound(packets, stream)
                return
            with closing(arrival.with_arrival(packets, _TIMEOUT_S + 1)) as timed:
                for packet, arrived_s in timed:
                    # Of a cut-off picture half is invented.
                    for frame in () if packet.is_corrupt else packet.decode():
                        arrival.stamp(frame, arrived_s)
                        yield frame

    def _decode_sound(self, packets: Iterator[Any], stream: Any) -> Iterator[av.VideoFrame]:
        """A file's frames without those that are damaged or rest on such. Raises ValueError where it ends in damage."""
        given, damages, trouble, doubtful = 0, 0, "", False
        for packet in packets:
            # The mark of a transport stream may be on the packet before the one that lacks bytes.
            doubtful, before = packet.is_corrupt, doubtful
            if trouble:  # until a key frame comes everything would rest on what is missing
                if doubtful or before or not packet.is_keyframe:
                    continue
                damages += 1
                so = "What follows up to the next key frame is left out"
                self._leave_out_damage(given, trouble, so, warn=damages == 1)
            # A cut-off packet decodes to invented pixels: only what is still held is taken.
            trouble = "a packet is cut off" if doubtful else ""
            for frame in stream.decode(None) if trouble else packet.decode():
                if not frame.is_corrupt:
                    given += 1
                    yield frame
                elif given:  # else a recording that starts between key frames
                    trouble = "a frame is broken"
                    break
            if trouble:
                stream.codec_context.flush_buffers()
        if damages > 1:
            self.warn_once(f"damaged in {damages} places, and each time left out up to the next key frame")
        if trouble:
            raise ValueError(trouble)

    def _rotation(self, frame: av.VideoFrame) -> int:
        """Clockwise degrees to turn the stored picture, from the display matrix (ISO/IEC 14496-12, 8.3.2)."""
        # FFmpeg's own number for a matrix of zeros, which turns nothing, is -2^31.
        clockwise = -frame.rotation if abs(frame.rotation) <= 360 else 0
        if stated.is_mirrored(frame):
            self.warn_once("marked as mirrored; the mirroring is left out so that left stays left")
            # FFmpeg's number is the turn before top and bottom change places; here up stays up, as in a picture.
            clockwise = 180 - clockwise
        degrees = int(round(clockwise / 90) * 90 % 360)
        if abs((clockwise - degrees + 180) % 360 - 180) > 1:
            self.warn_once(f"says it is turned by {clockwise} degrees; turned by {degrees}")
        return degrees

    def _options(self) -> dict[str, str]:
        if not self.live:
            return {"protocol_whitelist": "subfile,file"}  # a file may not pull in the network
        # A web file continues where it was cut, which opening it again would not.
        if self._target.startswith("http") and not self._returns:
            return {"reconnect": "1", "reconnect_on_network_error": "1", "reconnect_delay_max": "5"}
        return {"rtsp_transport": "tcp"} if self._target.startswith("rtsp") else {}

    def _picture_stream(self, container: Any) -> Any:
        """The first stream of moving pictures; a cover picture in a sound file is not one."""
        streams = [s for s in container.streams.video if not s.disposition & _ATTACHED]
        if not streams:
            if container.streams.audio:
                what, hint = "sound but no picture", "Give the video file itself"
            else:
                what, hint = "no picture", "It may be cut off: copy or record it again"
            raise InputError(f"the file holds {what}", where=self._where, hint=hint)
        best = container.streams.best("video")  # the one that players show: marked as the default, or larger
        stream = best if best in streams else streams[0]
        if len(streams) > 1:
            log.info(
                "%s: holds %d videos; number %d is read", self.name, len(streams), streams.index(stream) + 1
            )
        if stream.codec_context is None:
            raise InputError("the video's codec is not known", where=self._where, hint="Save it as H.264")
        if stream.codec_context.name in _TEXT_CODECS:
            raise InputError("this is text, not a video", where=self._where, hint="Give the video itself")
        # Two: decoding runs beside the networks, and more threads than cores only hold more frames.
        stream.thread_type, stream.codec_context.thread_count = "AUTO", 2
        rate = stream.average_rate or stream.guessed_rate
        self._stated_frames, self._stated_end_s = stated.frames_shown(stream), stated.tagged_end_s(stream)
        self.fps = Fraction(rate) if rate is not None and rate > 0 else None
        self._stored_aspect = float(stream.sample_aspect_ratio or 1)
        if self.live:
            self._returns = self._returns or arrival.is_camera_over_http(container)
            self._by_arrival = arrival.is_endless_without_times(container)
        if self._by_arrival:
            self.fps = None
            # Threads that each decode a frame would hold it back until the next ones have come.
            stream.thread_type = "SLICE"
        return stream

    @property
    def _timeout_s(self) -> float:
        return _TIMEOUT_S if self.live else _FILE_TIMEOUT_S

    def _why(self, error: Exception) -> str:
        """One short clause from an FFmpeg or Python error."""
        if isinstance(error, av.ExitError):  # how PyAV ends a call that took too long
            return f"nothing came for {self._timeout_s:g} s"
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return one_line(text).rstrip(".")

    def _unreadable(self, error: Exception) -> InputError:
        if self.live:
            return InputError(
                f"the stream does not answer: {self._why(error)}",
                where=self._where,
                hint="Check the address and that the camera is on",
            )
        return InputError(
            f"this is not a video that can be decoded: {self._why(error)}",
            where=self._where,
            hint="Play it to check it, then copy or record it again",
        )

    def _leave_out_damage(self, given: int, why: str, so: str, *, warn: bool = True) -> None:
        self.leave_out("damaged", given, f"damaged after {given} frames: {why}. {so}", warn=warn)

    def _leave_out_end(self, given: int, last_s: float) -> None:
        """Where a file says that it holds more than the ``given`` frames, the last of them at ``last_s``."""
        step_s = 0.0 if self.fps is None else float(1 / self.fps)
        if given < 0.95 * self._stated_frames - 2:
            self.leave_out(
                "cut_short", given, f"cut short, {given} of {self._stated_frames} frames are there"
            )
        elif last_s + 3 * step_s < 0.95 * self._stated_end_s:
            text = f"cut short, {last_s + step_s:.2f} of {self._stated_end_s:.2f} s are there"
            self.leave_out("cut_short", given, text)

    def _leave_out_size(self, given: int, wh: tuple[int, int]) -> None:
        (old_width, old_height), (width, height) = self._stored_wh, wh
        change = f"the picture size changes from {old_width}x{old_height} to {width}x{height}"
        so = "Only the frames before are used: save those after as a video of its own to measure them"
        self.leave_out("picture_size", given, f"{change} after {given} frames. {so}")


_ATTACHED = av.stream.Disposition.attached_pic

#: FFmpeg renders text files as pictures of text, which nobody means here.
_TEXT_CODECS = frozenset({"ansi", "bintext", "xbin", "idf"})


def _rgb(frame: av.VideoFrame) -> Any:
    return frame.to_ndarray(format="rgb24")
