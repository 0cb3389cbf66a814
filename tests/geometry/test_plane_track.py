"""A camera that moves: stretches of stillness, each with its own plane, and no plane where it jumped."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from heightpose.calibrate.mattress import plane_of_clip
from heightpose.geometry import body
from heightpose.geometry.camera import Camera
from heightpose.geometry.plane import PlaneError, plane_from_height
from heightpose.geometry.plane_track import PlaneTrack, Stretch, stretches_of, tags_moved_px, track_from_tags
from heightpose.geometry.sheet import TagView
from heightpose.types import Detection, FrameResult, Pose

from . import sheet_picture
from .cot import JOINTS_CM, LAYOUT, PINHOLE, tag_views
from .test_body import body as infant

SIZE = PINHOLE.size_wh


def views_along(poses, *, noise_px=0.1, hidden=()):
    return [
        (i, tag_views(PINHOLE, R, t, noise_px=noise_px, seed=i, hidden=hidden)[0])
        for i, (R, t) in poses.items()
    ]


def step(index):
    """Stands, is knocked at frame 20, stands otherwise."""
    if index < 20:
        return sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=6.0)
    return sheet_picture.pose(146.0, spin_deg=93.0, tilt_deg=11.0, offset_cm=(3.0, -5.0))


def drift(index):
    return sheet_picture.pose(150.0 - 0.1 * index, spin_deg=90 + 0.1 * index, tilt_deg=4 + 0.2 * index)


def worst_joint_cm(track, where, frames):
    errors = []
    for index in frames:
        plane = track.at(index)
        if plane is not None:
            truth = np.column_stack([JOINTS_CM, [2.0, 5.0, 9.0, 4.0, 0.0]])
            kpts = sheet_picture.project(PINHOLE, *where(index), truth)
            errors.append(np.abs(plane.to_mattress(PINHOLE, kpts, truth[:, 2]) - truth).max())
    return max(errors), len(errors)


def test_a_camera_that_stands_still_is_one_stretch():
    still = {i: sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=6.0) for i in range(0, 40, 4)}
    views = views_along(still, noise_px=0.4)
    views[3][1].corners_frame[2] += 40.0  # one tag pushed by a hand
    views.insert(4, (13, TagView(np.zeros(0, int), np.zeros((0, 4, 2)))))  # an arm over everything
    assert len(stretches_of(views, SIZE)) == 1


def test_a_knocked_camera():
    views = views_along({i: step(i) for i in range(0, 40, 2)})
    runs = stretches_of(views, SIZE)
    assert [(run[0][0], run[-1][0]) for run in runs] == [(0, 18), (20, 38)]
    track = track_from_tags(runs, PINHOLE, LAYOUT)
    assert track.at(19) is None  # on its way
    assert track.at(39) is not None
    assert track.at(60) is None  # nobody looked
    worst, count = worst_joint_cm(track, step, range(40))
    assert count == 39
    assert worst < 0.3
    assert track.main.height_cm == pytest.approx(150.0, abs=1.0)


def test_every_frame_has_the_plane_of_its_stretch_or_of_the_nearer_one_or_none():
    first, second, third = (plane_from_height(height) for height in (140.0, 150.0, 160.0))
    track = PlaneTrack(
        (
            Stretch(4, 10, first, 3, False), Stretch(16, 20, second, 4, True), Stretch(26, 30, third, 2, False),
            Stretch(33, 35, None, 9, False), Stretch(40, 44, third, 2, False),
        ),
        step=3,
    )  # fmt: skip
    spans = [
        (0, None), (1, first), (14, second), (21, None), (26, third), (32, None), (38, third), (48, None)
    ]  # fmt: skip
    expected = {start: plane for start, plane in spans}
    plane = None
    for index in range(60):
        plane = expected.get(index, plane)
        assert track.at(index) is plane, index
    assert track.main is second


@pytest.mark.parametrize(("moved_px", "between"), [(0.9, 1), (1.5, 2), (3.0, 0)])
def test_a_little_push_leaves_no_frame_without_a_plane_and_a_larger_one_does(moved_px, between):
    """At 1280x720 tags stand still up to 1 px, and frames on the way are guessed up to 2."""
    (view,) = tag_views(PINHOLE, *step(0), noise_px=0.0, hidden=range(10))
    pushed = TagView(view.ids, view.corners_frame + (moved_px, 0.0))
    runs = stretches_of([(0, view), (2, view), (8, pushed), (10, pushed)], SIZE)
    assert len(runs) == (1 if between == 1 else 2)
    track = track_from_tags(runs, PINHOLE, LAYOUT)
    found = {track.at(index) for index in range(3, 8)}
    assert None not in found or found == {None}
    assert len(found - {None}) == between


def test_half_of_the_looks_must_give_a_plane():
    R, t = step(0)
    good = views_along({i: (R, t) for i in range(4)}, hidden=range(12, 20))
    far = sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=6.0, offset_cm=(9.0, 0.0))
    (poor,) = tag_views(PINHOLE, *far, hidden=range(2, 20))
    for count, refused in ((4, False), (5, True)):
        runs = stretches_of(good + [(4 + i, poor) for i in range(count)], SIZE)
        if refused:
            with pytest.raises(PlaneError, match="moved"):
                track_from_tags(runs, PINHOLE, LAYOUT)
        else:
            assert track_from_tags(runs, PINHOLE, LAYOUT).at(5) is None
    with pytest.raises(PlaneError, match="moved"):
        track_from_tags([], PINHOLE, LAYOUT)


def test_a_slow_drift():
    views = views_along({i: drift(i) for i in range(30)})
    runs = stretches_of(views, SIZE)
    assert len(runs) > 10
    track = track_from_tags(runs, PINHOLE, LAYOUT)
    worst, count = worst_joint_cm(track, drift, range(30))
    assert count == 30
    assert worst < 0.3
    with_one = track.at(0)
    truth = np.column_stack([JOINTS_CM, np.zeros(len(JOINTS_CM))])
    seen = sheet_picture.project(PINHOLE, *drift(29), truth)
    assert np.abs(with_one.to_mattress(PINHOLE, seen) - truth).max() > 3.0  # what one plane would have done


def test_stretches_without_tags_are_left_out_until_too_little_remains():
    R, t = step(0)
    good = views_along({i: (R, t) for i in range(6)})
    far = sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=6.0, offset_cm=(9.0, 0.0))
    poor = [(i, v) for i, (_, v) in enumerate(views_along({6: far, 7: far}, hidden=range(2, 20)), start=6)]
    track = track_from_tags(stretches_of(good + poor, SIZE), PINHOLE, LAYOUT)
    assert track.at(3) is not None
    assert track.at(7) is None
    many = [(i, poor[0][1]) for i in range(6, 20)]
    with pytest.raises(PlaneError, match="moved") as caught:
        track_from_tags(stretches_of(good + many, SIZE), PINHOLE, LAYOUT)
    assert caught.value.code == "camera_moved"


def test_looks_that_share_no_tags_cannot_be_compared():
    (view,) = tag_views(PINHOLE, *step(0))
    half = TagView(view.ids[:8], view.corners_frame[:8]), TagView(view.ids[8:], view.corners_frame[8:])
    assert tags_moved_px(*half) == np.inf
    assert tags_moved_px(view, view) == 0.0


def only(view, tags):
    kept = np.isin(view.ids, view.ids[tags])
    return TagView(view.ids[kept], view.corners_frame[kept])


def test_tags_that_come_and_go_are_no_moving_camera():
    (view,) = tag_views(PINHOLE, *step(0))
    looks = [(i, only(view, tags)) for i, tags in enumerate(([0, 1, 2], [2, 9], [9, 15, 16], [0, 16], [19]))]
    runs = stretches_of(looks, SIZE)
    assert [len(run) for run in runs] == [4, 1]  # the last tag was never seen before
    plane = track_from_tags(runs, PINHOLE, LAYOUT).at(2)
    assert plane is not None
    assert plane.height_cm == pytest.approx(150.0, abs=0.5)
    (pushed,) = tag_views(PINHOLE, *step(20))
    assert len(stretches_of([*looks[:4], (4, only(pushed, [9]))], SIZE)) == 2  # one that did move


def test_too_few_tags_are_told_from_a_moving_camera():
    """Where no two looks share a tag nothing says that the camera moved."""
    (view,) = tag_views(PINHOLE, *step(0))
    looks = [(i, only(view, [2 * i, 2 * i + 1])) for i in range(4)]
    with pytest.raises(PlaneError) as caught:
        track_from_tags(stretches_of(looks, SIZE), PINHOLE, LAYOUT)
    assert caught.value.code == "too_few_tags"


def test_the_length_of_a_child_under_a_moving_camera_is_that_under_a_still_one():
    """The same body through both poses of a knocked camera, against the first pose alone."""
    views = views_along({i: step(i) for i in range(40)})
    track = track_from_tags(stretches_of(views, SIZE), PINHOLE, LAYOUT)

    def frames(where):
        box = np.array([0.0, 0.0, 1280.0, 720.0])
        for i in range(10, 30):
            kpts = sheet_picture.project(PINHOLE, *where(i), infant())
            yield FrameResult(i, i / 25, Pose(kpts, np.ones(len(kpts)), Detection(box, 0.0, 1.0)), 1)

    moved = body.measure(list(frames(step)), PINHOLE, track)
    still = body.measure(list(frames(lambda i: step(0))), PINHOLE, track.at(0))
    assert moved.length_cm is not None, moved.reasons
    assert moved.frames_total == still.frames_total == 20
    assert moved.length_cm == pytest.approx(still.length_cm, abs=0.3)
    unplaced = [FrameResult(90, 0.0, next(frames(step)).pose, 1)]
    with pytest.raises(ValueError, match="frame 90"):
        body.measure(unplaced, PINHOLE, track)


class Sheets:
    """The sheet from one place, then from another."""

    length_hint = 8

    def frames(self):
        paper = sheet_picture.print_sheet(LAYOUT)
        pictures = [
            sheet_picture.photograph(paper, LAYOUT, PINHOLE, *sheet_picture.pose(height, tilt_deg=8))
            for height in (150.0, 140.0)
        ]
        for index in range(8):
            yield SimpleNamespace(index=index, rgb=np.repeat(pictures[index // 5][..., None], 3, axis=2))


def test_no_plane_is_stored_from_a_clip_in_which_the_camera_moved():
    with pytest.raises(PlaneError) as caught:
        plane_of_clip(Sheets(), PINHOLE, LAYOUT)
    assert caught.value.code == "camera_moved"


#: Tags of 10 px: a search of one frame finds some of them, of the next one others.
SMALL = Camera(
    "pinhole",
    (480, 360),
    np.array([[250.0, 0, 239.5], [0, 250, 179.5], [0, 0, 1]]),
    np.array([-0.1, 0.02, 0, 0, 0]),
)


def clip_of(pictures):
    frames = [
        SimpleNamespace(index=i, rgb=np.repeat(p[..., None], 3, axis=2)) for i, p in enumerate(pictures)
    ]
    return SimpleNamespace(length_hint=len(frames), frames=lambda: iter(frames))


def test_a_camera_that_shows_other_tags_in_every_frame_did_not_move():
    still = sheet_picture.photograph(
        sheet_picture.print_sheet(LAYOUT),
        LAYOUT,
        SMALL,
        *sheet_picture.pose(150.0, spin_deg=90.0, tilt_deg=12.0),
    )
    rng = np.random.default_rng(0)
    noisy = [np.clip(still + rng.normal(0, 11, still.shape), 0, 255).astype(np.uint8) for _ in range(5)]
    assert plane_of_clip(clip_of(noisy), SMALL, LAYOUT).height_cm == pytest.approx(150.0, abs=1.0)


def test_no_plane_is_stored_from_mirrored_pictures():
    picture = sheet_picture.photograph(
        sheet_picture.print_sheet(LAYOUT), LAYOUT, PINHOLE, *sheet_picture.pose(150.0, tilt_deg=8.0)
    )
    with pytest.raises(PlaneError) as caught:
        plane_of_clip(clip_of([picture[:, ::-1]]), PINHOLE, LAYOUT)
    assert caught.value.code == "picture_mirrored"
