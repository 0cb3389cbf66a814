"""What lies on, over and beside the infant: nothing pokes through, overlaps, or is counted as seen when hidden."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("anny")
pytest.importorskip("mitsuba")

from heightpose.geometry.sheet import shipped_sheet
from heightpose.skeleton import INFANT
from heightpose.synth import scenario, scene, viewpoint
from heightpose.synth.blanket import EXTENTS, cover, plan_blanket
from heightpose.synth.materials import Materials
from heightpose.synth.nursery import Nursery, Recipe
from heightpose.synth.relief import Relief
from heightpose.synth.scenario import MATTRESS_CM, Options
from heightpose.synth.things import TOYS, put_toys, reach_in, toy_solids

KEYS = {"posture", "legs", "occlusion", "sensor", "age_band", "scene", "annotator", "outfit", "infants"}


@pytest.fixture(scope="module")
def nursery() -> Nursery:
    options = replace(Options(), size_wh=(96, 72), samples=1, twins=1.0, clutter=1.0, arm=1.0, blanket=1.0)
    return Nursery(Recipe(seed=8, kind="stills", options=options, sheet=str(shipped_sheet())), threads=1)


def _guest(nursery: Nursery, seed: int) -> scene.Infant:
    rng = np.random.default_rng(seed)
    guest = nursery._guest(seed, rng, Materials(False, rng))
    return scenario.moved(guest.frames[0], float(rng.uniform(-30, 30)), rng.normal(0, 4, 2))


@pytest.fixture(scope="module")
def infants(nursery: Nursery) -> list[scene.Infant]:
    return [_guest(nursery, seed) for seed in (1, 2)]


def _dense(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    n = 7
    weights = np.array([[i, j, n - i - j] for i in range(n + 1) for j in range(n + 1 - i)]) / n
    return np.einsum("sk,fkd->fsd", weights, vertices[faces]).reshape(-1, 3)


def _height_at(blanket: dict, xy: np.ndarray) -> np.ndarray:
    """The blanket's interpolated height over each point, NaN beside it."""
    from matplotlib.tri import LinearTriInterpolator, Triangulation

    grid = Triangulation(*blanket["vertices"][:, :2].T, blanket["faces"])
    return np.ma.filled(LinearTriInterpolator(grid, blanket["vertices"][:, 2])(*xy.T), np.nan)


@pytest.mark.parametrize("extent", EXTENTS)
def test_nothing_pokes_through_a_blanket(nursery: Nursery, infants: list[scene.Infant], extent: str) -> None:
    for seed, infant in enumerate(infants, start=1):
        plan = plan_blanket(np.random.default_rng(seed), np.ones((4, 4, 3)), extent)
        plan = replace(plan, half_width_cm=min(plan.half_width_cm, 20.0), reach_cm=40.0)
        blanket = cover(infant.joints_cm, scenario.surface_points(nursery.model, infant), plan)
        bodies = [(infant.vertices_cm, nursery.model.faces)]
        normals = scene.vertex_normals(infant.vertices_cm, nursery.model.faces)
        bodies += [
            (scene.shell_vertices(infant.vertices_cm, normals, s), s.faces) for s in infant.wardrobe.shells
        ]
        above = np.concatenate([_dense(v, f)[::5] for v, f in bodies])
        # the part of the cloth that lies within the mattress is a plain grid: no folded triangles there
        inside = np.all(np.abs(above[:, :2]) < np.array(MATTRESS_CM) / 2 - 2, axis=1)
        flat = np.abs(blanket["vertices"][:, :2]) <= np.array(MATTRESS_CM) / 2
        kept = blanket | {"faces": blanket["faces"][flat.all(axis=1)[blanket["faces"]].all(axis=1)]}
        gap = _height_at(kept, above[inside][:, :2]) - above[inside][:, 2]
        assert np.isfinite(gap).sum() > 500
        assert np.nanmin(gap) > 0.0


def test_toys_and_arms_stay_clear_of_what_lies_below(nursery: Nursery, infants: list[scene.Infant]) -> None:
    infant = infants[0]
    rng = np.random.default_rng(0)
    for seed in range(3):
        relief = Relief()
        relief.add(scenario.surface_points(nursery.model, infant))
        before = relief.height_cm.copy()
        shapes = put_toys(rng, Materials(False, rng), relief, 3)
        shapes |= reach_in(nursery.model, rng, Materials(True, rng), relief, infant.joints_cm[6, :2])
        assert any(name.startswith("toy") for name in shapes)
        bare = Relief()
        bare.height_cm = before
        for name, shape in shapes.items():
            if name == "adult_trunk":
                continue
            points = np.array(scene.mitsuba().traverse(shape)["vertex_positions"]).reshape(-1, 3)
            assert bare.lift_over(points, 0.0) == 0.0, (seed, name)
    assert all(min(v[:, 2].min() for v, _ in toy_solids(rng, kind)) > -1e-6 for kind in TOYS)


def test_hand_made_occluders_hide_exactly_what_lies_behind_them(
    nursery: Nursery, infants: list[scene.Infant]
) -> None:
    rng = np.random.default_rng(1)
    options = replace(Options().easy(), size_wh=(64, 48))
    camera, plane = viewpoint.draw_camera(rng, options)
    plain = scene.Room(
        np.ones((8, 8, 3)), MATTRESS_CM, np.ones((8, 8, 3)), "day", emitters={"sky": {"type": "constant"}}
    )
    infant = replace(infants[1], wardrobe=replace(infants[1].wardrobe, shells=(), sack=None))

    def seen(objects: dict) -> tuple[np.ndarray, list]:
        room = replace(plain, objects=objects)
        return scene.render(nursery.model, room, [infant], camera, plane, samples=1, seed=0)[1][0]

    free, by = seen({})
    assert set(by) == {None}
    for name in ("crown", "left_wrist", "right_heel"):
        k = INFANT.index(name)
        joint, eye = infant.joints_cm[k], plane.camera_centre_cm
        before = joint + (eye - joint) * 0.3  # well above the infant, on the ray to this joint
        ball = {"type": "sphere", "center": before.tolist(), "radius": 1.0}
        hidden, by = seen({"toy0_0": ball})
        assert hidden[k] == 1
        assert by[k] == "toy0_0"
        far = np.linalg.norm(infant.joints_cm - joint, axis=1) > 8.0
        assert (hidden[far] == free[far]).all()
        behind = joint - (eye - joint) / np.linalg.norm(eye - joint) * 40.0
        assert (seen({"toy0_0": ball | {"center": behind.tolist()}})[0] == free).all()
    wall = {
        "type": "rectangle",
        "to_world": scene.mitsuba().ScalarTransform4f().translate([0, 0, 45]).scale([99, 99, 1]),
    }
    assert (seen({"toy0_0": wall})[0] == 1).all()
    assert (seen({"mesh00": wall})[0] == free).all(), "a cot's net hides nothing"


def test_twins_lie_apart_and_every_item_carries_all_strata(nursery: Nursery) -> None:
    counts, clothes = [], set()
    for index in range(3):
        _, record = next(nursery.item(index))
        assert set(record["strata"]) >= KEYS
        counts.append(len(record["infants"]))
        assert record["strata"]["infants"] == counts[-1]
        for infant in record["infants"]:
            legs = "extended" if infant["leg_extended"] else "tucked"
            assert infant["strata"]["legs"] == ("covered" if infant["legs_covered"] else legs)
        own = [record["strata"] | i["strata"] for i in record["infants"]]
        assert own[0]["outfit"] == record["strata"]["outfit"]
        assert own[0]["legs"] == record["strata"]["legs"]
        clothes.update((i["strata"]["outfit"], i["strata"]["posture"]) for i in record["infants"])
        assert len({i["child"] for i in record["infants"]}) == counts[-1]
        joints = [np.array(i["joints_cm"]) for i in record["infants"]]
        assert all((np.abs(j[:, :2]) < np.array(MATTRESS_CM) / 2).all() for j in joints)
        if len(joints) == 2:
            assert np.linalg.norm(joints[0][:, None] - joints[1][None], axis=-1).min() > 2.0
    assert 2 in counts
    assert len(clothes) > 3, "each twin has its own"


def test_a_fisheye_is_covered_by_one_perspective_picture() -> None:
    rng = np.random.default_rng(2)
    options = replace(Options(), size_wh=(96, 72), fisheye=1.0)
    for _ in range(20):
        camera, _ = viewpoint.draw_camera(rng, options)
        size, _, to_ideal = scene.lens_map(camera)
        assert camera.model == "fisheye"
        assert max(size) < 4 * 96
        assert (to_ideal >= 0).all()
        assert (to_ideal <= np.array(size) - 1).all()
        corner = camera.undistort(np.array([[0.0, 0.0], [95.0, 71.0]]))
        rays = np.column_stack([corner, np.ones(2)])
        assert np.abs(camera.project(rays) - [[0, 0], [95, 71]]).max() < 1e-3


@pytest.mark.parametrize("fisheye", [0.0, 1.0])
def test_from_near_the_infant_fills_the_picture_and_the_camera_stays(fisheye: float) -> None:
    rng = np.random.default_rng(4)
    options = replace(Options(), size_wh=(96, 72), fisheye=fisheye)
    for _ in range(20):
        far, over = viewpoint.draw_camera(rng, options)
        skin = rng.uniform(-1, 1, (300, 3)) * [10, 32, 6] + [rng.normal(0, 6), rng.normal(0, 12), 6]
        near, plane = viewpoint.come_near(rng, far, over, skin)
        np.testing.assert_allclose(plane.camera_centre_cm, over.camera_centre_cm, atol=1e-9)
        np.testing.assert_allclose(plane.R @ plane.R.T, np.eye(3), atol=1e-12)
        assert near.size_wh == far.size_wh
        at = plane.to_frame(near, skin)
        size = np.array(near.size_wh)
        reach = (np.abs(at - (size - 1) / 2).max(axis=0) / (size / 2)).max()
        assert 0.5 < reach < 1.25
        _, _, to_ideal = scene.lens_map(near)
        assert (to_ideal >= 0).all()


def test_a_still_from_near_shows_the_same_infant_larger() -> None:
    options = replace(Options(), size_wh=(96, 72), samples=1, clutter=0.0, arm=0.0, blanket=0.0)
    found = []
    for near in (False, True):
        recipe = Recipe(
            seed=5, kind="stills", options=replace(options, near=near), sheet=str(shipped_sheet())
        )
        found.append(next(Nursery(recipe, threads=1).item(0))[1]["infants"][0])
    far, close = found
    assert close["joints_cm"] == far["joints_cm"]
    sides = [np.ptp(np.reshape(infant["bbox_xyxy"], (2, 2)), axis=0).max() for infant in found]
    assert sides[1] > 1.2 * sides[0]


def test_infrared_is_not_the_colour_turned_grey() -> None:
    rng = np.random.default_rng(3)
    night = Materials(True, rng)
    dark, light = (np.tile(tone, (50, 1)) for tone in ([0.20, 0.11, 0.07], [0.82, 0.60, 0.50]))
    levels = [night.skin(skin).mean() for skin in (dark, light)]
    assert all(0.5 < level < 0.75 for level in levels), "every skin is bright at 850 nm"
    stripes = np.where(np.arange(16)[None, :, None] % 2, 0.05, 0.9) * np.ones((16, 16, 3))
    assert np.ptp(night.cloth(stripes)) < np.ptp(stripes)
    printed = night.sheet(stripes, tagged=True)
    assert printed.min() < 0.1
    assert np.ptp(printed, axis=2).max() == 0
