"""``heightpose eval`` on a tiny drawn test set, once as a real process."""

from __future__ import annotations

import csv
import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import makers
import pytest
from click.testing import CliRunner

from heightpose.cli.main import cli
from heightpose.runtime.presence import PRESENT

sys.path.append(str(Path(__file__).resolve().parents[1] / "evaluate"))

from evaluated import spot_set


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "spots"
    spot_set(folder)
    return folder


class Images(HTMLParser):
    """Addresses a page loads, and its drawings."""

    def __init__(self):
        super().__init__()
        self.addresses, self.drawings = [], 0

    def handle_starttag(self, tag, attrs):
        self.addresses += [v for k, v in attrs if k in ("src", "href") and v]
        self.drawings += tag == "svg"


def test_result_tree_text_and_report(here, models, spots, tmp_path):
    done = here("eval", "--testset", spots, *models, "--truth-crops", "--out", "a")
    assert done.returncode == 0, done.stderr
    assert "MeanSmS@0.1" in done.stdout
    assert "null model" in done.stdout
    assert "truth crops" in done.stdout
    out = tmp_path / "a"
    assert {p.name for p in out.iterdir()} == {
        "result.json",
        "report.html",
        "people.csv",
        "clips.csv",
        "records",
    }
    result = json.loads((out / "result.json").read_text())
    assert result["testset"]["name"] == "spots"
    assert result["testset"]["frozen"]
    people = list(csv.DictReader((out / "people.csv").open()))
    assert len(people) == 6
    assert [p["found"] for p in people].count("0") == 1
    assert float(people[0]["error.upper_neck"]) == pytest.approx(1.0, abs=0.05)
    assert people[0]["error.left_hip"] == ""
    clips = list(csv.DictReader((out / "clips.csv").open()))
    assert clips[0]["measured_cm"] == ""
    page = Images()
    page.feed((out / "report.html").read_text())
    assert page.drawings >= 5
    assert page.addresses
    assert all(a.startswith("data:") for a in page.addresses)  # nothing is fetched


def test_json_alone_and_a_run_folder_and_compare(heightpose, here, models, spots, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "pose.onnx").write_bytes(Path(models[1]).read_bytes())
    a = heightpose("eval", "--testset", spots, *models, "--out", "a", "--json")
    assert a.returncode == 0, a.stderr
    assert json.loads(a.stdout)["models"]["pose"]["name"] == "pose.onnx"
    b = here("eval", "--testset", spots, "--run", run, *models[2:], "--out", "b", "--json")
    assert b.returncode == 0, b.stderr
    assert json.loads(b.stdout)["run"] == "run"
    both = here("eval", "compare", "a", "b", "--out", "ab.json")
    assert both.returncode == 0, both.stderr
    assert "regressions: none shown" in both.stdout
    assert json.loads((tmp_path / "ab.json").read_text())["people"] == 6


def test_a_changed_test_set_is_refused(here, models, spots, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in spots.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(spots)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(spots)).write_bytes(path.read_bytes())
    listed = json.loads((copy / "clips.json").read_text())
    listed[0]["length_cm"] = 64.0
    (copy / "clips.json").write_text(json.dumps(listed))
    done = here("eval", "--testset", copy, *models)
    assert done.returncode == 2
    assert "has changed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "--testset"),
        (("--testset", "nowhere"), "no such test set"),
        (("--testset", "x", "--data", "y"), "--data"),
        (("compare", ".", "."), "result.json"),
        (("--testset", "x", "--split", "val"), "--split would do nothing"),  # its default, but given
        (("intervals", "--testset", "x", "--split", "test"), "--split would do nothing"),
        (("detector", "--testset", "x", "--split", "test"), "--split would do nothing"),
    ],
)
def test_mistakes_get_one_line(here, args, words):
    done = here("eval", *args)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("eval --json compare . .", "--json before 'compare' would do nothing"),
        ("eval --tta flip make x", "--tta before 'make'"),  # its default, but given
        ("dashboard --no-blur wandb", "--no-blur before 'wandb'"),
    ],
)
def test_options_before_a_verb_are_not_dropped_silently(args, words):
    done = CliRunner().invoke(cli, args.split())
    assert done.exit_code == 2
    assert words in done.output


def test_plain_data_by_split(here, models, spots):
    done = here("eval", "--data", spots, "--split", "test", *models, "--limit", "2", "--out", "c")
    assert done.returncode == 0, done.stderr
    assert "0 clips" in done.stdout


def test_a_baseline_is_recorded_without_curves(here, models, spots, tmp_path):
    done = here("eval", "--testset", spots, *models, "--out", "a", "--record", "tiny")
    assert done.returncode == 0, done.stderr
    baseline = json.loads((tmp_path / "eval" / "baselines" / "spots" / "tiny.json").read_text())
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert baseline["kind"] == "baseline"
    assert baseline["headline"] == result["headline"]
    assert baseline["pose"]["pckh"] == result["pose"]["pckh"]
    assert "curve" not in baseline["pose"]
    part = here("eval", "--testset", spots, *models, "--out", "b", "--limit", "1", "--record", "tiny")
    assert part.returncode == 2
    assert "whole set" in part.stderr
    assert not (tmp_path / "b").exists()  # said before the work


def test_the_detector_alone(here, spots, tmp_path):
    detector = makers.tiny_detector(tmp_path / "detector.onnx", reach=0.95)  # boxes as large as the labels'
    done = here("eval", "detector", "--testset", spots, "--detector", detector)
    assert done.returncode == 0, done.stderr
    assert "7 pictures, 6 infants, 1 empty cot" in done.stdout
    (alone,) = (tmp_path / "eval-results" / "detector" / "spots").iterdir()
    assert alone.name.startswith("detector-")
    assert {p.name for p in alone.iterdir()} == {
        "detector.txt", "detector.json", "detector.png", "detections.csv",
    }  # fmt: skip
    figures = json.loads((alone / "detector.json").read_text())
    assert figures["found"] == pytest.approx(5 / 6)  # the dark one is missed
    assert figures["false_alarms"] == 0.0
    assert figures["strata"]["lit"]["dark"]["found"] == 0.0
    assert len(list(csv.DictReader((alone / "detections.csv").open()))) == 7
    model = makers.tiny_pose(tmp_path / "pose.onnx")
    done = here("eval", "detector", "--testset", spots, "--detector", detector, "--model", model)
    assert done.returncode == 0, done.stderr
    (together,) = {*alone.parent.iterdir()} - {alone}  # what was there stays
    both = json.loads((together / "detector.json").read_text())
    assert (both["threshold"], both["false_alarms"]) == (PRESENT, 0.0)
    assert both["pose"]["name"] == "pose.onnx"
    assert figures["pose"] is None
    scores = [
        [float(row["best_score"]) for row in csv.DictReader((f / "detections.csv").open())]
        for f in (alone, together)
    ]
    assert scores[0] != scores[1]  # the evidence of both instead of the detector's own
    nothing = here("eval", "detector")
    assert nothing.returncode == 2
    assert "Give --data FOLDER or --testset NAME_OR_DIR" in nothing.stderr
