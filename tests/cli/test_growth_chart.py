"""``heightpose growth``: what it plots, lists and refuses."""

from __future__ import annotations

import csv
import json
import os
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from heightpose.cli.growth import growth
from heightpose.errors import ConfigError, FileFormatError, HeightposeError, InputError
from heightpose.metrics import who
from heightpose.metrics.growth import Visit
from heightpose.metrics.height import null_length
from heightpose.report.growth_chart import chart_picture, chart_svg


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """What should be refused and is not writes its chart beside the test's files, not into the source."""
    monkeypatch.chdir(tmp_path)


def measured(folder, name, length, half=0.8, **more):
    path = folder / name / "height.json"
    path.parent.mkdir()
    document = {
        "status": "measured", "reasons": [], "length_cm": length, "interval_cm": [length - half, length + half],
        "interval_level": 0.9, "input": f"{name}.mp4", **more,
    }  # fmt: skip
    path.write_text(json.dumps(document))
    return path


def rejected(folder, name, **more):
    reasons = [{"code": "legs_not_seen", "text": "The legs were never seen <straight>."}]
    return measured(folder, name, 60.0, reasons=reasons, status="rejected", **more)


def run(*args):
    return CliRunner().invoke(growth, [str(a) for a in args], standalone_mode=False)


def refusal(*args):
    error = run(*args).exception
    assert isinstance(error, HeightposeError), error
    return error


def test_visits_in_order_of_age_with_one_rejected(tmp_path):
    late = measured(tmp_path, "late", 68.0, sex="female", age_months=7.0)
    early = measured(tmp_path, "early", 62.0, sex="female", age_months=4.0)
    same = measured(tmp_path, "same", 62.5, sex="female", age_months=4.5)
    result = run(late, early.parent, same, rejected(tmp_path, "lost"), "--out", tmp_path / "out")
    assert result.return_value == 0, result.output
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["4.0", "4.5", "7.0"]
    assert "no change shown: +0.5 cm (-0.6 to +1.6)" in lines[2]
    assert "+5.5 cm (+4.4 to +6.6)" in lines[3]
    assert "no change" not in lines[3]
    assert lines[4].startswith("not plotted: lost.mp4: rejected (legs_not_seen")
    rows = list(csv.DictReader((tmp_path / "out" / "growth.csv").open()))
    assert [r["status"] for r in rows] == ["measured"] * 3 + ["rejected"]
    assert float(rows[2]["z_score"]) == pytest.approx(who.z_score("female", 7.0, 68.0), abs=0.01)
    assert [r["change_shown"] for r in rows] == ["", "no", "yes", ""]
    page = (tmp_path / "out" / "growth.html").read_text()
    assert "&lt;straight&gt;" in page
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")  # nothing is fetched


def test_a_child_that_shrinks_is_doubted(tmp_path):
    """Two children mixed up look like one that lost centimetres."""
    visits = [
        measured(tmp_path, name, length, sex="female", age_months=age)
        for name, length, age in (("one", 68.0, 7.0), ("other", 62.0, 8.0), ("same", 61.9, 8.1))
    ]
    result = run(*visits, "--out", tmp_path / "out")
    assert result.return_value == 0
    doubts = [line for line in result.output.splitlines() if line.startswith("doubtful: ")]
    assert len(doubts) == 1  # 1 mm less is not shown to be less
    assert "other.mp4 is 6.0 cm shorter than one.mp4" in doubts[0]
    assert doubts[0].removeprefix("doubtful: ") in (tmp_path / "out" / "growth.html").read_text()


@pytest.mark.parametrize("lengths", [(66.0, 60.0), (60.0, 66.0)])
def test_two_lengths_at_one_age_are_doubted_in_either_order(tmp_path, lengths):
    visits = [
        measured(tmp_path, name, length, sex="female", age_months=3.0)
        for name, length in zip(("one", "other"), lengths, strict=True)
    ]
    result = run(*visits, "--out", tmp_path / "out")
    assert result.return_value == 0
    lines = result.output.splitlines()
    (doubt,) = [line.removeprefix("doubtful: ") for line in lines if line.startswith("doubtful: ")]
    assert "one.mp4 and other.mp4 are 6.0 cm apart at one age and contradict each other" in doubt
    assert doubt in (tmp_path / "out" / "growth.html").read_text()
    assert "contradictory at one age: " in lines[2]
    assert [r["change_shown"] for r in csv.DictReader((tmp_path / "out" / "growth.csv").open())] == ["", "no"]


def test_the_chart_puts_points_where_the_curves_are(tmp_path):
    """A length on the median lies on the median curve, and the picture shows the same as the drawing."""
    median = who.length_for_z("male", 9.0, 0.0)
    visits = [Visit("x & <y>", "male", 9.0, median, (median - 1, median + 1))]
    root = ET.fromstring(chart_svg(visits))
    space = "{http://www.w3.org/2000/svg}"
    dot = root.find(f"{space}circle")
    x, y = float(dot.get("cx")), float(dot.get("cy"))
    assert dot.find(f"{space}title").text.startswith("x & <y>: ")
    curves = [line for line in root.iter(f"{space}polyline") if "gc-median" in line.get("class")]
    points = np.array([[float(v) for v in p.split(",")] for p in curves[0].get("points").split()])
    assert np.interp(x, points[:, 0], points[:, 1]) == pytest.approx(y, abs=0.1)
    assert {t.text for t in root.iter(f"{space}text")} >= {"P3", "P15", "P50", "P85", "P97"}
    picture = chart_picture(visits)
    red = np.abs(picture.astype(int) - (180, 67, 31)).sum(axis=2) < 12
    count, _, _, centres = cv2.connectedComponentsWithStats(red.astype(np.uint8))
    assert count == 2  # the background, and one dot with its bar
    np.testing.assert_allclose(centres[1] / 2, (x, y), atol=0.6)


@pytest.mark.parametrize("age", [0.0, 24.0])
def test_the_ends_of_the_standard_can_be_drawn(age):
    length = who.length_for_z("female", age, 4.0)  # far above the highest curve
    picture = chart_picture([Visit("v", "female", age, length, (length - 2, length + 2))])
    assert picture.shape == (1200, 1800, 3)
    red = np.abs(picture.astype(int) - (180, 67, 31)).sum(axis=2) < 12
    assert red.any()


def test_ages_and_sex_from_the_command_line_or_a_list(tmp_path):
    a, b = measured(tmp_path, "a", 62.0), measured(tmp_path, "b", 66.0)
    out = tmp_path / "out"
    assert run(a, b, "--sex", "male", "--age-months", "4,6", "--out", out).return_value == 0
    listed = tmp_path / "visits.csv"
    listed.write_text("file,date,sex\na/height.json,2025-05-14,male\nb,2025-07-14,\n")
    result = run("--visits", listed, "--born", "2025-01-14", "--out", out)
    assert result.return_value == 0, result.exception
    rows = list(csv.DictReader((out / "growth.csv").open()))
    assert [float(r["age_months"]) for r in rows] == pytest.approx([120 / 30.4375, 181 / 30.4375], abs=0.01)
    listed.write_text("file,age_months,sex\na,four,male\n")
    assert "line 2" in str(refusal("--visits", listed))
    listed.write_text("file,date\na,2025-05-14\n")
    assert "--born" in str(refusal("--visits", listed))
    assert isinstance(refusal("--visits", listed, "--born", "2025-06-01"), ConfigError)


@pytest.mark.parametrize("header", ["file,Date,Sex", "file, date, sex", " FILE ,DATE,sEX"])
def test_columns_in_capitals_and_with_spaces_are_read(tmp_path, header):
    """A date that is passed over would leave the age of the file in its place."""
    measured(tmp_path, "a", 62.0, age_months=9.0)
    listed = tmp_path / "visits.csv"
    listed.write_text(f"{header}\na, 2025-05-14, male\n")
    result = run("--visits", listed, "--born", "2025-01-14", "--out", tmp_path / "out")
    assert result.return_value == 0, result.exception
    (row,) = csv.DictReader((tmp_path / "out" / "growth.csv").open())
    assert float(row["age_months"]) == pytest.approx(120 / 30.4375, abs=0.01)
    assert row["sex"] == "male"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,day,sex\na,2025-05-14,male\n", "not known (expected only file, age_months, date, sex, got 'day')"),
        ("file,date,Date\na,2025-05-14,2025-05-15\n", "a column twice (got 'date')"),
        ("file,date\na,2025-05-14\n\nb,\n", "line 4: with --born each visit needs a date"),
        ("file,sex\na,male\n", "line 2: with --born each visit needs a date"),
        (
            "file,date,age_months\na,2025-05-14,3\n",
            "line 2: date and age_months contradict each other (expected 3.94 months on 2025-05-14 as born "
            "2025-01-14, got 3 months)",
        ),
        ("file,age_months\na,4,5\n", "line 2: more cells than columns (got 5)"),
        ("file,date,sex\n", "names no files"),
        ("file\n\n", "names no files"),
        ("", "no column 'file'"),
    ],
)  # fmt: skip
def test_a_list_that_would_be_misread_is_refused(tmp_path, content, words):
    for name in "ab":
        measured(tmp_path, name, 62.0, sex="male", age_months=9.0)
    listed = tmp_path / "visits.csv"
    listed.write_text(content)
    error = refusal("--visits", listed, "--born", "2025-01-14")
    assert words in str(error)
    assert error.exit_code == 2


def test_a_list_of_visits_is_not_written_over_by_the_table(tmp_path):
    measured(tmp_path, "a", 62.0)
    listed = tmp_path / "growth.csv"
    listed.write_text("file,age_months,sex\na/height.json,4.5,female\n")
    before = listed.read_bytes()
    error = refusal("--visits", listed, "--out", tmp_path)
    assert "growth.csv: is an input" in str(error)
    assert listed.read_bytes() == before
    assert not (tmp_path / "growth.html").exists()


def test_a_date_and_a_rounded_age_agree(tmp_path):
    measured(tmp_path, "a", 62.0, sex="male")
    listed = tmp_path / "visits.csv"
    listed.write_text("file,date,age_months\na,2025-05-14,3.9\n")
    result = run("--visits", listed, "--born", "2025-01-14", "--out", tmp_path / "out")
    assert result.return_value == 0, result.exception
    assert next(csv.DictReader((tmp_path / "out" / "growth.csv").open()))["age_months"] == "3.9"


def test_without_a_day_of_birth_the_files_tell_their_ages(tmp_path):
    measured(tmp_path, "a", 62.0, sex="male", age_months=4.0)
    listed = tmp_path / "visits.csv"
    listed.write_text("file\na\n")
    assert run("--visits", listed, "--out", tmp_path / "out").return_value == 0


def test_a_rejected_measurement_keeps_the_childs_sex(tmp_path):
    now = measured(tmp_path, "now", 62.0, sex="female", age_months=4.0)
    lost = rejected(tmp_path, "lost", sex="female", age_months=5.0)
    assert run(now, lost, "--out", tmp_path / "out").return_value == 0
    rows = list(csv.DictReader((tmp_path / "out" / "growth.csv").open()))
    assert [(r["status"], r["sex"]) for r in rows] == [("measured", "female"), ("rejected", "female")]


def test_a_name_that_is_not_utf8(tmp_path):
    """height.json of earlier versions may hold one, and the folder may have one."""
    odd = os.fsdecode(b"caf\xe9")
    file = measured(tmp_path, odd, 62.0, sex="female", age_months=4.0)
    lost = rejected(tmp_path, odd + "2")
    result = run(file, lost, "--out", tmp_path / "out")
    assert result.return_value == 0, result.exception
    rows = list(csv.DictReader((tmp_path / "out" / "growth.csv").open()))
    assert [r["input"] for r in rows] == ["caf\ufffd.mp4", "caf\ufffd2.mp4"]
    assert rows[0]["file"].endswith("/caf\ufffd/height.json")


def test_what_does_not_belong_together_is_refused(tmp_path):
    girl = measured(tmp_path, "girl", 62.0, sex="female", age_months=4.0)
    boy = measured(tmp_path, "boy", 64.0, sex="male", age_months=5.0)
    nameless = measured(tmp_path, "nameless", 64.0)
    assert "sexes differ" in str(refusal(girl, boy))
    assert "sexes differ" in str(refusal(girl, "--sex", "male"))
    assert "--age-months" in str(refusal(girl, nameless))
    assert "--sex" in str(refusal(nameless, "--age-months", "3"))
    for age in ("-1", "24.5", "nan"):
        assert "0 to 24 months" in str(refusal(nameless, "--sex", "male", f"--age-months={age}")), age
    assert "named twice" in str(refusal(girl, girl.parent))
    assert "--visits" in str(refusal(girl, "--born", "2025-01-14"))
    assert "expected 2, got 1" in str(refusal(girl, boy, "--age-months", "3"))
    wide = measured(tmp_path, "wide", 63.0, sex="female", age_months=5.0, interval_level=0.95)
    assert "different levels" in str(refusal(girl, wide))


@pytest.mark.parametrize("content", ["[]", "{", '{"status": "error"}', '{"status": "measured"}'])
def test_files_that_are_no_measurement_are_named(tmp_path, content):
    path = tmp_path / "height.json"
    path.write_text(content)
    error = refusal(path, "--sex", "male", "--age-months", "3")
    assert isinstance(error, FileFormatError)
    assert "height.json" in str(error)
    assert isinstance(refusal(tmp_path / "absent.json"), InputError)


def test_nothing_but_rejections(tmp_path):
    result = run(rejected(tmp_path, "lost"), "--out", tmp_path / "out")
    assert result.return_value == 3
    assert "not plotted: lost.mp4" in result.output
    assert not (tmp_path / "out").exists()


def test_a_length_far_off_the_curves_has_no_percentile_of_0(tmp_path):
    tiny = measured(tmp_path, "tiny", 50.0, sex="female", age_months=9.0)
    out = tmp_path / "out"
    result = run(tiny, "--out", out)
    assert "P<0.1 (P<0.1-P<0.1)" in result.output
    assert "percentile &lt;0.1 of girls" in (out / "growth.html").read_text()
    (row,) = csv.DictReader((out / "growth.csv").open())
    assert 0 < float(row["percentile"]) < 1e-6


def test_a_length_a_hair_below_the_median_is_of_z_0_and_not_of_minus_0(tmp_path):
    length = null_length("male", 6.0) - 0.003
    file = measured(tmp_path, "now", length, sex="male", age_months=6.0)
    again = measured(tmp_path, "again", length - 0.001, sex="male", age_months=6.1)
    result = run(file, again, "--out", tmp_path / "out")
    assert result.return_value == 0, result.output
    assert "+0.00" in result.output
    text = (tmp_path / "out/growth.csv").read_text()
    assert "-0.00" not in result.output + text
    assert "-0.0 cm" not in result.output
    assert next(csv.DictReader(text.splitlines()))["z_score"] == "0.00"


def test_a_length_beyond_the_flags_of_the_who_is_called_doubtful(tmp_path):
    """An age in weeks, or another child's length: nothing that a clinic may read as ordinary."""
    fine = measured(tmp_path, "fine", 62.0, sex="female", age_months=4.0)
    wrong = measured(tmp_path, "wrong", 82.0, sex="female", age_months=5.0)
    out = tmp_path / "out"
    result = run(fine, wrong, "--out", out)
    (doubt,) = [
        line.removeprefix("doubtful: ")
        for line in result.output.splitlines()
        if line.startswith("doubtful: ")
    ]
    assert doubt.startswith("wrong.mp4: 82.0 cm at 5.0 months, z +8.10 is")
    assert doubt.endswith("(-6 to +6): check age, sex and length")
    assert doubt in (out / "growth.html").read_text()
    assert [r["z_flagged"] for r in csv.DictReader((out / "growth.csv").open())] == ["no", "yes"]
    words = ["".join(t.itertext()) for t in ET.parse(out / "growth.svg").getroot().iter() if "text" in t.tag]
    assert [w for w in words if "check age, sex, length" in w]
    assert len([w for w in words if "check" in w]) == 1


def test_a_visit_after_the_second_birthday_is_left_out_and_the_rest_plotted(tmp_path):
    """731 days where a leap day lies between: 24.02 months, which the standard for length does not reach."""
    for name, length in (("a", 80.0), ("b", 86.0)):
        measured(tmp_path, name, length, sex="male")
    listed, out = tmp_path / "visits.csv", tmp_path / "out"
    listed.write_text("file,date\na,2024-09-01\nb,2025-03-01\n")
    result = run("--visits", listed, "--born", "2023-03-01", "--out", out)
    assert result.return_value == 0, result.exception
    assert (
        "not plotted: b.mp4 at 24.02 months: 86.0 cm (85.2-86.8); the WHO length standard ends"
        in result.output
    )
    rows = list(csv.DictReader((out / "growth.csv").open()))
    assert [(r["status"], r["length_cm"], r["reasons"]) for r in rows] == [
        ("measured", "80.00", ""),
        ("left_out", "86.00", "too_old"),
    ]
    assert "the WHO length standard ends at 24 months" in (out / "growth.html").read_text()
    listed.write_text("file,date\nb,2025-03-01\n")
    assert "0 to 24 months" in str(refusal("--visits", listed, "--born", "2023-03-01"))
