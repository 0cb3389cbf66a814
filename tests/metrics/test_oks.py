"""OKS-AP beside the COCO API itself, and by hand."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from heightpose.metrics.oks import OKS_THRESHOLDS, Ranked, average_precision, oks, sigmas, summary
from heightpose.skeleton import INFANT

K = len(INFANT)


def test_oks_by_hand():
    truth, labelled = np.zeros((1, K, 2)), np.zeros((1, K), dtype=bool)
    knee, wrist = INFANT.index("left_knee"), INFANT.index("right_wrist")
    labelled[0, [knee, wrist]] = True
    pred = truth.copy()
    pred[0, knee] = [3.0, 4.0]
    expected = (np.exp(-25 / (2 * 900 * (2 * 0.087) ** 2)) + 1) / 2
    assert oks(pred, truth, labelled, np.array([900.0])) == pytest.approx([expected])
    assert oks(np.full_like(truth, np.nan), truth, labelled, np.array([900.0])) == pytest.approx([0.0])
    assert oks(pred, truth, np.zeros_like(labelled), np.array([900.0])) == pytest.approx([0.0])


def test_coco_joints_have_coco_sigmas_and_sides_agree():
    s = dict(zip(INFANT.names, sigmas(), strict=True))
    coco = {"shoulder": 0.079, "elbow": 0.072, "wrist": 0.062, "hip": 0.107, "knee": 0.087, "ankle": 0.089}
    for name, value in coco.items():
        assert s[f"left_{name}"] == s[f"right_{name}"] == value


def scene(seed, number=60):
    """Frames of one or two people with at most one prediction each: right, rough, wild or missing."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(number):
        truths = [rng.uniform(100, 500, (K, 2)) for _ in range(int(rng.integers(0, 3)))]
        seen = [rng.random(K) < 0.8 for _ in truths]
        areas = [float(rng.uniform(8e3, 6e4)) for _ in truths]
        pred = None
        if rng.random() < 0.85:
            base = truths[0] if truths and rng.random() < 0.85 else rng.uniform(100, 500, (K, 2))
            pred = base + rng.normal(size=(K, 2)) * rng.uniform(0, 25)
        frames.append((truths, seen, areas, pred, float(rng.random())))
    return frames


def ours(frames):
    score, best, predicted, people = [], [], [], []
    for number, (truths, seen, areas, pred, s) in enumerate(frames):
        people += [str(number)] * len(truths)
        if pred is not None:
            all_of = [
                oks(pred[None], t[None], v[None], np.array([a]))[0]
                for t, v, a in zip(truths, seen, areas, strict=True)
            ]
            score.append(s)
            best.append(max(all_of, default=0.0))
            predicted.append(str(number))
    return Ranked(np.array(score), np.array(best), predicted, people)


def by_coco(frames):
    pycocotools = pytest.importorskip("pycocotools.cocoeval")
    from pycocotools.coco import COCO

    truth = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "infant"}], "info": {}}
    found = []
    for number, (truths, seen, areas, pred, score) in enumerate(frames, 1):
        truth["images"].append({"id": number})
        for t, v, area in zip(truths, seen, areas, strict=True):
            flat = np.column_stack([t, 2 * v]).ravel().tolist()
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1, "image_id": number, "category_id": 1, "iscrowd": 0,
                    "area": area, "bbox": [0, 0, 600, 600], "keypoints": flat, "num_keypoints": int(v.sum()),
                }
            )  # fmt: skip
        if pred is not None:
            flat = np.column_stack([pred, np.ones(K)]).ravel().tolist()
            found.append({"image_id": number, "category_id": 1, "keypoints": flat, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        judge = pycocotools.COCOeval(coco, coco.loadRes(found), "keypoints")
        judge.params.kpt_oks_sigmas = sigmas()
        judge.evaluate()
        judge.accumulate()
    # area range "all", 20 detections: (thresholds, recalls)
    precision, recall = judge.eval["precision"][:, :, 0, 0, 0], judge.eval["recall"][:, 0, 0, 0]
    return precision.mean(axis=1), recall


@pytest.mark.parametrize("seed", range(4))
def test_the_same_as_the_coco_api(seed):
    frames = scene(seed)
    ap, recall = average_precision(ours(frames))
    coco_ap, coco_recall = by_coco(frames)
    assert ap == pytest.approx(coco_ap, abs=1e-9)
    assert recall == pytest.approx(coco_recall, abs=1e-9)
    assert 0.05 < ap.mean() < 0.95  # a case that decides something


def test_a_perfect_result_and_one_missed_person():
    children = ["a", "b", "c", "d"]
    perfect = summary(Ranked(np.ones(4), np.ones(4), children, children))
    assert perfect["ap"] == perfect["ap50"] == perfect["ar"] == 100.0
    missed = summary(Ranked(np.ones(3), np.ones(3), children[:3], children))
    assert missed["ar"] == 75.0
    assert missed["ap"] == pytest.approx(100 * 76 / 101)  # recalls 0.00 to 0.75
    low, high = missed["ap_interval"]
    assert low < missed["ap"] < high
    assert summary(Ranked(np.ones(1), np.zeros(1), ["x"], []))["ap"] is None


def test_the_threshold_is_inclusive():
    one = ["a"]
    for value, right in ((0.7501, 6), (0.75, 6), (0.7499, 5)):
        ap, _ = average_precision(Ranked(np.ones(1), np.array([value]), one, one))
        assert (ap == 1.0).sum() == right
    assert OKS_THRESHOLDS[5] == 0.75


def test_a_false_alarm_in_an_empty_cot_is_no_second_child():
    one = Ranked(np.array([0.9, 0.5]), np.array([1.0, 0.0]), ["a", "empty.png"], ["a"])
    assert summary(one)["ap_interval"] is None
    two = Ranked(np.array([0.9, 0.5]), np.array([1.0, 0.0]), ["a", "empty.png"], ["a", "b"])
    assert summary(two)["ap_interval"] is not None


def test_each_figure_has_its_own_interval():
    """Everybody is found, half of them just above the lowest threshold only."""
    children = [str(i) for i in range(20)]
    score, best = np.array([0.5, 0.9] * 10), np.array([0.52, 1.0] * 10)
    found = summary(Ranked(score, best, children, children))
    assert found["ap50"] == 100.0
    assert found["ap75"] == pytest.approx(100 * 51 / 101)
    assert found["ap50_interval"] == (100.0, 100.0)
    assert found["ar"] == pytest.approx((100.0 + 9 * 50.0) / 10)
    for name in ("ap", "ar"):
        low, high = found[f"{name}_interval"]
        assert 30.0 < low < found[name] < high < 80.0
