"""Pairs of results: differences, intervals and regressions by name."""

from __future__ import annotations

import pytest
from evaluated import clip, frame

from heightpose.errors import ConfigError
from heightpose.evaluate.compare import Difference, compare, lines
from heightpose.evaluate.records import Log
from heightpose.evaluate.summary import SCHEMA, summarise
from heightpose.runtime.atomic import write_json
from heightpose.runtime.output import plain
from heightpose.skeleton import INFANT


def stored(folder, pictures, clips, sha="s", about=None, **more):
    (folder / "records").mkdir(parents=True)
    Log(folder / "records").add(pictures)
    for one in clips:
        Log(folder / "records").add(clip=one)
    model = {"name": "net.onnx", "sha256": folder.name * 10}
    about = {
        "testset": {"name": "set", "split": None, "sha256": sha}
        | {"frames": len(pictures), "clips": len(clips)}
        | more,
        "models": {"pose": model, "detector": model},
    } | (about or {})
    head = {"kind": "evaluation", "schema": SCHEMA, "run": None, "created": "today"}
    write_json(folder / "result.json", plain(head | about | summarise(pictures, clips)))
    return folder


def people(off, missed=()):
    return [
        frame(
            f"{i}.jpg",
            f"child-{i}",
            off=off(i),
            found=i not in missed,
            strata={"legs": "tucked" if i < 6 else "straight"},
        )
        for i in range(12)
    ]


def found(comparison, name, of=""):
    (one,) = [d for d in comparison["differences"] if (d["name"], d["of"]) == (name, of)]
    return one


def test_regressions_are_named_where_they_are(tmp_path):
    def clips(error):
        return [
            clip(f"c{i}", f"child-{i}", error(i), strata={"sleep": "asleep" if i < 6 else "awake"})
            for i in range(12)
        ]

    a = stored(tmp_path / "a", people(lambda i: 0.0), clips(lambda i: 0.2))
    b = stored(
        tmp_path / "b", people(lambda i: 0.2 if i < 6 else 0.0), clips(lambda i: 1.2 if i < 10 else None)
    )
    c = compare(a, b)
    sms = found(c, "MeanSmS@0.1")
    assert (sms["a"], sms["b"], sms["difference"]) == (100.0, 50.0, -50.0)
    assert sms["interval"][0] < -50 < sms["interval"][1] < 0
    assert found(c, "MeanSmS@0.5")["verdict"] == "no difference shown"
    assert found(c, "MeanSmS@0.1", "legs: tucked")["difference"] == -100.0
    assert "MeanSmS@0.1 of legs: tucked" in c["regressions"]
    assert "MeanSmS@0.1 of legs: straight" not in c["regressions"]
    assert "PCKh@0.1 of left knee" in c["regressions"]
    mae = found(c, "height MAE, cm")
    assert mae["rows"] == 10  # of the clips that both measured
    assert (mae["a"], mae["b"]) == pytest.approx((0.2, 1.2))
    assert mae["verdict"] == "worse"
    assert found(c, "yield, %")["difference"] == pytest.approx(-100 / 6)
    awake = [found(c, name, "sleep: awake") for name in ("height MAE, cm", "yield, %")]
    assert [(d["rows"], d["children"]) for d in awake] == [(4, 4), (6, 6)]
    assert [d["difference"] for d in awake] == pytest.approx([1.0, -100 / 3])
    assert found(c, "yield, %", "sleep: asleep")["difference"] == 0.0
    assert c["improvements"] == []
    back = compare(b, a)
    assert back["regressions"] == []
    assert set(back["improvements"]) == set(c["regressions"])


def test_what_else_differs_is_said(tmp_path):
    settings = [
        {"settings": {"tta": tta, "second_look": True}, "code": {"sha256": "c" * 64}}
        for tta in ("none", "flip")
    ]
    a, b = (
        stored(tmp_path / name, people(lambda i: 0.0), [], about=about)
        for name, about in zip("ab", settings, strict=True)
    )
    assert compare(a, b)["made_differently"] == {"tta": ["none", "flip"]}
    assert "tta: none -> flip" in lines(compare(a, b))


def test_models_that_no_option_chooses_are_said_too(tmp_path):
    """With another elevation model lengths differ, and both results were described in the same words."""
    net = {"name": "net.onnx", "sha256": "n" * 64}
    models = [
        {
            "models": {
                "pose": net,
                "detector": net,
                "cover": net,
                "elevation": {"name": "lift.npz", "sha256": of * 64},
            }
        }
        for of in "xy"
    ]
    a, b = (
        stored(tmp_path / name, people(lambda i: 0.0), [], about=about)
        for name, about in zip("ab", models, strict=True)
    )
    assert compare(a, b)["made_differently"] == {"elevation model": [f"lift.npz {of * 10}" for of in "xy"]}
    earlier = stored(tmp_path / "c", people(lambda i: 0.0), [])
    assert compare(earlier, b)["made_differently"]["elevation model"] == [
        "not recorded",
        "lift.npz yyyyyyyyyy",
    ]


def test_the_records_of_an_interrupted_evaluation_are_not_compared(tmp_path):
    whole = stored(tmp_path / "a", people(lambda i: 0.0), [])
    part = stored(tmp_path / "b", people(lambda i: 0.0)[:7], [], frames=12)
    assert compare(whole, whole)["people"] == 12
    with pytest.raises(ConfigError, match=r"interrupted.*expected 12 pictures.*got 7"):
        compare(whole, part)


def test_equal_results_show_nothing(tmp_path):
    a = stored(tmp_path / "a", people(lambda i: 0.1 * i), [])
    b = stored(tmp_path / "b", people(lambda i: 0.1 * i), [])
    c = compare(a, b)
    assert {d["difference"] for d in c["differences"]} == {0.0}
    assert c["regressions"] == c["improvements"] == []
    assert "regressions: none shown" in lines(c)


def test_pairing_takes_out_what_is_hard_for_both(tmp_path):
    # children differ a lot, but B is a little better on every one of them
    a = stored(tmp_path / "a", [], [clip(f"c{i}", f"k{i}", 0.5 + i) for i in range(8)])
    b = stored(tmp_path / "b", [], [clip(f"c{i}", f"k{i}", 0.4 + i) for i in range(8)])
    mae = found(compare(a, b), "height MAE, cm")
    assert mae["interval"] == pytest.approx((-0.1, -0.1))
    assert mae["verdict"] == "better"


@pytest.mark.parametrize(("children", "verdict"), [(4, "no difference shown"), (5, "better")])
def test_what_fewer_than_five_children_agree_on_is_no_difference(tmp_path, children, verdict):
    """Two children that both became worse by chance, which is every other pair, were listed as a regression."""
    a, b = (
        stored(tmp_path / name, [], [clip(f"c{i}", f"k{i}", error + i) for i in range(children)])
        for name, error in (("a", 0.5), ("b", 0.4))
    )
    c = compare(a, b)
    assert found(c, "height MAE, cm")["verdict"] == verdict
    assert ("height MAE, cm" in c["improvements"]) == (children == 5)
    assert "Of fewer than 5 none is given." in lines(c)[-1]


def test_a_missed_person_is_a_regression_of_its_own(tmp_path):
    a = stored(tmp_path / "a", people(lambda i: 0.0), [])
    b = stored(tmp_path / "b", people(lambda i: 0.0, missed=range(8)), [])
    assert found(compare(a, b), "found, %")["verdict"] == "worse"


def test_joints_that_nobody_shows_and_lengths_that_nobody_has_are_not_compared(tmp_path):
    def stands(off):
        frames = [frame(f"{i}.jpg", f"child-{i}", off=off, hidden=("crown",)) for i in range(3)]
        for one in frames:
            one.people[0].visibility[INFANT.index("left_toe")] = 0
        return frames

    clips = [[clip(f"c{i}", f"child-{i}", e if i else None) for i in range(2)] for e in (0.5, None)]
    a, b = (stored(tmp_path / n, stands(0.0), c) for n, c in zip("ab", clips, strict=True))
    c = compare(a, b)
    told = {(d["name"], d["of"]) for d in c["differences"]}
    assert ("PCKh@0.1", "left_knee") in told
    assert not told & {("PCKh@0.1", "crown"), ("PCKh@0.1", "left_toe"), ("height MAE, cm", "")}
    assert found(c, "yield, %")["difference"] == -50.0


def test_results_of_different_sets_are_not_paired(tmp_path):
    a = stored(tmp_path / "a", people(lambda i: 0.0), [])
    b = stored(tmp_path / "b", people(lambda i: 0.0), [], sha="other")
    with pytest.raises(ConfigError, match="different test sets"):
        compare(a, b)


def test_one_child_is_no_verdict_however_many_lie_beside_it(tmp_path):
    """Eight children, of whom one has a measured length and one a seen crown."""

    def stands(off):
        frames = people(lambda i: off)
        for f in frames[1:]:
            f.people[0].visibility[INFANT.index("crown")] = 1
        return frames

    lengths = {"a": [2.0] + [None] * 7, "b": [0.1] + [None] * 7}
    a, b = (
        stored(tmp_path / n, stands(off), [clip(f"c{i}", f"k{i}", e) for i, e in enumerate(lengths[n])])
        for n, off in (("a", 0.3), ("b", 0.0))
    )
    comparison = compare(a, b)
    for name, of in (("height MAE, cm", ""), ("PCKh@0.1", "crown")):
        one = found(comparison, name, of)
        assert (one["interval"], one["children"], one["rows"]) == (None, 1, 1)
        assert one["verdict"] == "no difference shown"
    assert found(comparison, "MeanSmS@0.1")["verdict"] == "better"
    assert found(comparison, "PCKh@0.1", "pelvis")["children"] == 12


def test_results_on_other_pictures_under_the_same_labels_are_not_paired(tmp_path):
    a, b, old = (
        stored(tmp_path / name, people(lambda i: 0.0), [], **files)
        for name, files in (("a", {"files_sha256": "1"}), ("b", {"files_sha256": "2"}), ("old", {}))
    )
    with pytest.raises(ConfigError, match="different pictures"):
        compare(a, b)
    assert compare(a, old)["people"] == compare(a, a)["people"] == 12


def test_what_only_rounding_changed_is_no_difference():
    """Another compiler's sums differ by a millionth, and the same way for every child."""
    for change, verdict in ((-1e-6, "no difference shown"), (-0.01, "worse"), (0.01, "better")):
        around = change - 1e-9, change + 1e-9
        one = Difference("found, %", "all", "", 90.0, 90.0 + change, change, around, "higher", 9, 9)
        assert one.verdict == verdict


@pytest.mark.parametrize(
    ("change", "interval", "shown"),
    [
        (-100.0, (-100.0, -100.0), "-100.00 (-100.00 to -100.00)"),
        (0.4, (0.0012, 0.81), "+0.400 (+0.001 to +0.810)"),
        (0.4, (-0.0012, 0.81), "+0.40 (+0.00 to +0.81)"),
        (-0.4, (-0.81, -0.0003), "-0.4000 (-0.8100 to -0.0003)"),
        (0.4, None, "+0.40"),
        (3e-6, (1e-6, 4e-6), "+0.00 (+0.00 to +0.00)"),
    ],
)
def test_the_table_keeps_columns_apart_and_tells_bounds_from_0(change, interval, shown):
    one = Difference("found, %", "all", "", 100.0, 100.0 + change, change, interval, "higher", 9, 9)
    about = {"folder": "x", "model": "m", "detector": "d"}
    table = lines(
        {"a": about, "b": about, "testset": {"name": "t"}, "people": 9, "clips": 0, "by_chance": 0,
         "differences": [one.as_dict()], "regressions": [], "improvements": [], "made_differently": {}}
    )  # fmt: skip
    (row,) = [line for line in table if line.startswith("found")]
    assert f"{100.0 + change:.2f} " in row
    assert f" {shown}  {one.verdict}" in row
