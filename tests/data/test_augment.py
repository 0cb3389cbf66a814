"""The augmentation policy: every operation, and every chain of them, leaves labels where the pixels are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import product

import drawn
import numpy as np
import pytest
from test_samples import CODEC, GEOMETRY_ONLY, LARGE_WH, person, pictures

from heightpose.config import AugmentConfig
from heightpose.data.augment import apply, augment_pixels, noise_operations, pixel_operations
from heightpose.data.batches import Batches
from heightpose.data.occlude import hide, lay_blanket, paste_occluder
from heightpose.data.samples import PoseSamples
from heightpose.skeleton import INFANT, mirror_name

K = len(INFANT)
BACK = 40.0
NAMES = [n for n in INFANT.names if n != "head_top"]  # where the crown is
STILL = replace(GEOMETRY_ONLY, randaugment_n=0, flip=0.0)
PIXEL, NOISE = pixel_operations(1.0), noise_operations(1.0)
#: One saturated colour per joint, told apart by direction alone: blobs are mixed with the grey background.
COLOURS = {
    n: np.array(c, float)
    for n, c in zip(
        NAMES, [c for c in product((70, 145, 220), repeat=3) if max(c) - min(c) >= 75][: len(NAMES)], strict=True
    )
}  # fmt: skip


def spread_kpts(rng):
    """An infant whose joints keep so far apart that no blob touches another."""
    kpts = drawn.infant_kpts((0, 0), 300, 0)
    for name, (x, y) in {
        "thorax": (0, -70), "left_hip": (30, 25), "right_hip": (-30, 25), "pelvis": (0, 0),
        "left_heel": (55, 150), "right_heel": (-55, 150), "left_toe": (80, 130), "right_toe": (-80, 130),
        "left_ankle": (35, 120), "right_ankle": (-35, 120),
    }.items():  # fmt: skip
        kpts[INFANT.index(name)] = x, y
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return kpts @ turn + np.array(LARGE_WH) / 2 + rng.uniform(-5, 5, 2)


def blobs(kpts, size_wh=LARGE_WH, names=NAMES, sigma=3.0):
    """A plain grey picture with a blob of its own colour at every named joint."""
    image = np.full((size_wh[1], size_wh[0], 3), BACK)
    x, y = np.arange(size_wh[0]), np.arange(size_wh[1])
    for name in names:
        px, py = kpts[INFANT.index(name)]
        blob = np.outer(np.exp(-((y - py) ** 2) / (2 * sigma**2)), np.exp(-((x - px) ** 2) / (2 * sigma**2)))
        image += blob[..., None] * (COLOURS[name] - BACK)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def centroid(image, at, reach):
    """Centroid of what stands out near a place, and its mean colour above the background."""
    x0, y0 = np.rint(at).astype(int) - reach
    part = image[y0 : y0 + 2 * reach + 1, x0 : x0 + 2 * reach + 1].astype(float)
    above = np.abs(part - BACK).sum(axis=2)
    above = np.maximum(above - 0.25 * above.max(), 0)
    y, x = np.mgrid[: part.shape[0], : part.shape[1]]
    place = np.array([(x * above).sum(), (y * above).sum()]) / above.sum() + (x0, y0)
    return place, ((part - BACK) * above[..., None]).sum(axis=(0, 1)) / above.sum()


def check_blobs(sample, least=6, named=str):
    """Every blob well inside the crop lies at its label, in the colour of the joint that ``named`` says."""
    height, width = sample.image.shape[:2]
    shown = 0
    for name in NAMES:
        label = sample.kpts_crop[INFANT.index(name)]
        reach = int(np.ceil(3.2 * 3.0 * sample.transform.scale))
        if not ((label > reach + 1) & (label < np.array([width, height]) - reach - 2)).all():
            continue
        others = np.delete(
            sample.kpts_crop, INFANT.indices(name, *(["head_top"] if name == "crown" else [])), 0
        )
        if np.abs(others - label).max(axis=1).min() < 2 * reach:
            continue
        place, colour = centroid(sample.image, label, reach)
        assert np.linalg.norm(place - label) < 0.5, name
        directions = {n: (c - BACK) / np.linalg.norm(c - BACK) for n, c in COLOURS.items()}
        best = max(directions, key=lambda n: directions[n] @ (colour / np.linalg.norm(colour)))
        assert best == named(name)
        shown += 1
    assert shown >= least
    return shown


CHAINS = {
    "none": {},
    "flip": {"flip": 1.0},
    "turn": {"turn": 1},
    "scale": {"scale": 1},
    "shift": {"shift": 1},
    "half body": {"half_body": 1.0},
    "turn, flip": {"turn": 1, "flip": 1.0},
    "shift, scale, turn": {"shift": 1, "scale": 1, "turn": 1},
    "everything": {"shift": 1, "scale": 1, "turn": 1, "flip": 1.0, "half_body": 1.0},
}


@pytest.mark.parametrize("chain", CHAINS)
def test_every_joint_is_found_where_its_label_is_after_any_chain_of_geometry(chain):
    named = CHAINS[chain]
    how = replace(
        STILL,
        randaugment_n=3,
        shift=0.08 if "shift" in named else 0.0,
        scale=(0.8, 1.3) if "scale" in named else (1.0, 1.0),
        turn_deg=60.0 if "turn" in named else 0.0,
        far_turn=0.0,
        flip=named.get("flip", 0.0),
        half_body=named.get("half_body", 0.0),
    )
    rng = np.random.default_rng(1)
    for _ in range(5):
        kpts = spread_kpts(rng)
        sample = PoseSamples(pictures(blobs(kpts), person(kpts)), CODEC, how).sample(0, rng)
        assert ("half body" in sample.operations) == ("half_body" in named)
        # A mirrored infant's left is what was its right: the label must sit on the other side's colour.
        check_blobs(sample, 4, mirror_name if "flip" in named else str)


def test_half_body_shows_one_half_larger_and_only_with_enough_joints():
    rng = np.random.default_rng(0)
    kpts = spread_kpts(rng)
    upper, lower = INFANT.indices("crown", "left_wrist", "thorax"), INFANT.indices("left_heel", "right_knee")
    shown = pictures(blobs(kpts), person(kpts))
    whole = PoseSamples(shown, CODEC, STILL).sample(0, rng).transform.scale
    samples, seen = PoseSamples(shown, CODEC, replace(STILL, half_body=1.0)), Counter()
    for _ in range(30):
        sample = samples.sample(0, rng)
        assert sample.transform.scale > 1.2 * whole
        inside = ((sample.kpts_crop > 0) & (sample.kpts_crop < 255)).all(axis=1)
        seen["upper"] += inside[upper].all()
        seen["lower"] += inside[lower].all()
        assert (sample.visibility == 2).all()
    assert min(seen["upper"], seen["lower"]) > 5
    few = np.zeros(K, int)
    few[INFANT.indices("crown", "pelvis", "left_knee")] = 2
    one = person(kpts, few)
    sample = PoseSamples(pictures(blobs(kpts), one), CODEC, replace(STILL, half_body=1.0)).sample(0, rng)
    assert sample.operations == ()


@pytest.mark.parametrize(("name", "operation"), PIXEL + NOISE, ids=[n for n, _ in PIXEL + NOISE])
def test_pixel_and_noise_operations_move_nothing(name, operation):
    rng = np.random.default_rng(2)
    kpts = drawn.infant_kpts((96, 96), 150, 0)
    chosen = ("crown", "thorax", "left_wrist", "right_wrist", "left_knee", "right_ankle")
    clean = np.full((192, 192, 3), 40, np.uint8)
    x, y = np.meshgrid(np.arange(192), np.arange(192))
    for joint in chosen:
        px, py = kpts[INFANT.index(joint)]
        blob = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 3.0**2))
        clean = np.maximum(clean, (40 + 170 * blob)[..., None].astype(np.uint8))
    for _ in range(6):
        before = clean.copy()
        out = apply(operation, clean, rng)
        np.testing.assert_array_equal(clean, before)
        assert out.shape == clean.shape
        assert out.dtype == np.uint8
        for joint in chosen:
            px, py = np.rint(kpts[INFANT.index(joint)]).astype(int)
            part = np.s_[py - 10 : py + 11, px - 10 : px + 11]
            places = []
            for image in (clean, out):
                grey = image[part].mean(axis=2)
                mass = np.maximum(grey - np.median(grey) - 0.3 * np.ptp(grey), 0)
                v, u = np.mgrid[:21, :21]
                places.append(np.array([(u * mass).sum(), (v * mass).sum()]) / mass.sum())
            assert np.linalg.norm(places[0] - places[1]) < 0.5, joint


def visible(before, after, kpts):
    """``(K,)`` bool: whether the pixel at each joint still shows what it showed."""
    x, y = np.rint(kpts).astype(int).T
    return np.abs(before[y, x].astype(int) - after[y, x]).max(axis=1) <= 60


def test_joints_whose_blob_vanished_are_hidden_and_the_others_are_seen():
    rng = np.random.default_rng(3)
    base = drawn.infant_kpts((128, 120), 200, 0)
    black = np.zeros((64, 64, 3), np.uint8)
    counts = Counter()
    for turn in range(40):
        kpts = base + rng.uniform(-3, 3, base.shape)
        start = np.full(K, 2)
        start[INFANT.index("left_elbow")] = 0
        image = np.full((256, 256, 3), 255, np.uint8)  # only what covers a joint darkens it by much
        if turn % 2:
            out, covered = paste_occluder(image, black, kpts[rng.integers(K)], rng)
        else:
            out, covered = lay_blanket(image // 255 * 200, kpts, start, rng)
            # Cloth may be as bright as what it covers: draw the mask instead of guessing from its colour.
            changed = np.abs(out.astype(int) - 200).max(axis=2) > 0
            assert changed[covered].mean() > 0.9
            out = np.where(covered[..., None], 0, 255).astype(np.uint8)
        seen = hide(kpts, start, covered)
        still = visible(image, out, kpts)
        assert seen[INFANT.index("left_elbow")] == 0
        known = start > 0
        np.testing.assert_array_equal(seen[known], np.where(still, 2, 1)[known])
        counts["hidden"] += int((seen == 1).sum())
        if turn % 2 == 0:
            assert (seen[INFANT.indices("left_heel", "right_heel")] == 1).any()
            assert (seen[INFANT.indices("crown", "upper_neck")] == 2).all()
    assert counts["hidden"] > 80


def test_in_a_sample_a_blanket_hides_leg_joints_and_drops_none():
    rng = np.random.default_rng(5)
    how = replace(STILL, blanket=1.0)
    laid = 0
    for _ in range(6):
        kpts = spread_kpts(rng)
        shown = pictures(blobs(kpts), person(kpts))
        plain = PoseSamples(shown, CODEC, STILL).sample(0, rng)
        sample = PoseSamples(shown, CODEC, how).sample(0, rng)
        assert sample.operations == ("blanket",)
        np.testing.assert_array_equal(plain.kpts_crop, sample.kpts_crop)
        assert set(sample.visibility) == {1, 2}
        hidden = sample.visibility == 1
        laid += hidden.sum()
        # Joints that stayed seen look as before but for the edge's shadow; those hidden show the cloth.
        x, y = np.rint(sample.kpts_crop).astype(int).T
        colour = sample.image[y, x].astype(float)
        colour /= np.linalg.norm(colour, axis=1, keepdims=True)
        old = plain.image[y, x].astype(float)
        old /= np.linalg.norm(old, axis=1, keepdims=True)
        assert ((colour * old).sum(axis=1)[~hidden] > 0.999).all()
    assert laid > 18


def test_at_most_one_pixel_and_one_noise_operation():
    names = {"pixel": {n for n, _ in PIXEL}, "noise": {n for n, _ in NOISE}}
    assert not names["pixel"] & names["noise"]
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    how, counts, met = AugmentConfig(pixel=0.6, noise=0.4), Counter(), set()
    for _ in range(600):
        _, applied = augment_pixels(image, rng, how)
        for family, members in names.items():
            number = sum(a in members for a in applied)
            assert number <= 1
            counts[family] += number
        assert set(applied) <= names["pixel"] | names["noise"]
        met |= set(applied)
    assert met == names["pixel"] | names["noise"]
    assert counts["pixel"] / 600 == pytest.approx(0.6, abs=0.08)
    assert counts["noise"] / 600 == pytest.approx(0.4, abs=0.08)


def test_strength_nothing_changes_nothing_and_more_changes_more():
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(120, 30, (96, 96, 1)) + [0, 15, 30], 0, 255).astype(np.uint8)
    mean = {}
    for m in (0, 2, 5, 10):
        how, rng = AugmentConfig(randaugment_m=m, pixel=1.0, noise=1.0), np.random.default_rng(7)
        outs = [augment_pixels(image, rng, how)[0].astype(int) for _ in range(150)]
        mean[m] = np.mean([np.abs(out - image).mean() for out in outs])
    assert mean[0] == 0
    assert mean[0] < mean[2] < mean[5] < mean[10]
    kpts = spread_kpts(np.random.default_rng(1))
    two = [
        PoseSamples(pictures(blobs(kpts), person(kpts)), CODEC, how).sample(0, np.random.default_rng(3))
        for how in (replace(STILL, pixel=1.0, noise=1.0, randaugment_n=3, randaugment_m=0), None)
    ]
    np.testing.assert_array_equal(two[0].transform.matrix, two[1].transform.matrix)
    assert two[0].operations == ()


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_as_many_geometric_operations_are_chained_as_asked(n):
    kpts = spread_kpts(np.random.default_rng(1))
    samples = PoseSamples(pictures(blobs(kpts), person(kpts)), CODEC, replace(STILL, randaugment_n=n))
    rng = np.random.default_rng(0)
    chains = {samples.sample(0, rng).operations for _ in range(40)}
    assert {len(c) for c in chains} == {n}
    assert {name for c in chains for name in c} == ({"shift", "scale", "turn"} if n else set())


def test_the_same_samples_with_one_thread_and_with_three():
    kpts = [spread_kpts(np.random.default_rng(k)) for k in range(12)]
    infants = [person(k) for k in kpts]
    how = AugmentConfig(pixel=1.0, noise=1.0, occluder=0.5, blanket=0.5, half_body=0.3)
    samples = PoseSamples(pictures(blobs(kpts[0]), *infants), CODEC, how)

    def epochs(workers):
        batches = Batches(samples, list, 3, shuffle=True, seed=4, workers=workers)
        return [s for _ in range(2) for batch in batches for s in batch]

    for a, b in zip(epochs(1), epochs(3), strict=True):
        assert a.operations == b.operations
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.kpts_crop, b.kpts_crop)
        np.testing.assert_array_equal(a.visibility, b.visibility)


def test_loading_the_operations_opens_no_connection():
    script = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('a connection was tried')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from heightpose.data.augment import pixel_operations\n"
        "assert pixel_operations(1.0)\n"
    )
    env = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    subprocess.run([sys.executable, "-c", script], check=True, env=env, timeout=120)
