"""The dashboard on synthetic run folders: what it says is what the records say, and it needs nothing but itself."""

from __future__ import annotations

import hashlib
import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import run_folders as make
from click.testing import CliRunner

from heightpose.cli.main import cli
from heightpose.evaluate.summary import summarise
from heightpose.report.dashboard import write_dashboard
from heightpose.report.dashboard_view import Options, correlations, look
from heightpose.report.runs import read_runs

POSTURES = ("back", "side", "front")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three steps: 10 children, more of them, another learning rate; a second seed; an ablation; four bad records."""
    root = tmp_path_factory.mktemp("project")
    runs, results = root / "runs", root / "results"
    few, more = {"posture": {"back": 8, "side": 2}}, {"posture": {"back": 30, "side": 10, "front": 5}}
    make.training(runs, "poc", 0, note="proof of concept", children=few, val=40, train=61)
    make.training(runs, "more", 24, note="+40 %", data="d2", children=more, val=48, train=60)
    make.training(runs, "rate", 48, data="d2", children=more, lr=2e-3, val=51, train=60)
    make.training(runs, "rate-seed2", 49, data="d2", children=more, lr=2e-3, seed=2, val=53, train=60)
    make.training(runs, "cell", 50, data="d2", lr=5e-3, labels={"lr": "5e-3"})
    for hour, name, wrong, error in (
        (1, "poc", {"back": 2, "side": 4, "front": 4}, 2.0), (25, "more", {"side": 3, "front": 3}, 1.5),
        (51, "rate", {"side": 3, "front": 2}, 1.0), (52, "rate-seed2", {"side": 2, "front": 2}, 0.8),
    ):  # fmt: skip
        make.evaluation(
            results, f"of-{name}", hour, name, frames=make.infants(POSTURES, wrong=wrong.items()),
            clips=make.measured([error, -error, None]),
        )  # fmt: skip
    make.ablation(
        root / "ablations",
        "rates",
        {"1e-3": [40.0, 41.0, 42.0], "2e-3": [44.0, 45.2, 46.1], "5e-3": [40, 42, 41]},
    )
    break_some(runs, results)
    return root


def break_some(runs, results):
    """A record cut in half, one of a wrong type, one that is not finished, one that is another's."""
    text = (results / "of-more" / "result.json").read_text()
    (results / "cut").mkdir()
    (results / "cut" / "result.json").write_text(text[: len(text) // 2])
    changed = json.loads(text)
    changed["strata"]["posture"]["side"]["pose"]["pckh"]["0.1"]["mean_sms"] = "high"
    (results / "typed").mkdir()
    (results / "typed" / "result.json").write_text(json.dumps(changed))
    unfinished = make.training(runs, "unfinished", 90)
    (unfinished / "metrics.json").unlink()
    mixed = make.training(runs, "mixed", 91)
    (mixed / "metrics.json").write_text((runs / "poc" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def page(folder):
    out = folder / "dashboard.html"
    view = write_dashboard([folder], out, Options())
    return view, out.read_text()


def data_of(text):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S).group(1)
    )


def test_bad_records_are_named_and_skipped(page, folder):
    view, text = page
    why = {s.path.parent.name: s.why for s in view.runs.skipped}
    assert why.keys() == {"cut", "typed", "unfinished", "mixed"}
    assert "half-written" in why["cut"]
    assert "strata" not in why["cut"]
    assert "mean_sms" in why["typed"]
    assert "not finished" in why["unfinished"]
    for name in why:
        assert html.escape(str(folder / ("results" if name in ("cut", "typed") else "runs") / name)) in text


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "config.yaml"])
@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', None])
def test_the_broken_file_of_a_run_is_named(tmp_path, name, text):
    folder = make.training(tmp_path, "one", 1)
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    runs = read_runs([tmp_path])
    expected = {
        ("config.yaml", '{"schema": 1}'): None,  # whose settings are shown as they are
        ("metrics.json", None): folder / "run.json",  # not finished
    }.get((name, text), folder / name)
    assert [skipped.path for skipped in runs.skipped] == ([] if expected is None else [expected])


def test_steps_are_algorithm_changes_and_data_additions(page):
    line = page[0].line
    assert [(s.name, s.kind, len(s.runs)) for s in line.steps] == [
        ("proof of concept", "first", 1), ("+40 %", "data", 1), ("rate", "algorithm", 2),
    ]  # fmt: skip
    assert line.steps[2].changes == ["optim.lr 0.001 → 0.002"]
    assert "data d1 → d2" in line.steps[1].changes[0]


def test_numbers_on_the_page_are_those_of_the_records(page, folder):
    _, text = page
    steps = data_of(text)["steps"]
    for step, names in zip(steps, (["poc"], ["more"], ["rate", "rate-seed2"]), strict=True):
        assert [r["record"] for r in step["results"]] == [
            ref(text, folder, f"results/of-{n}/result.json") for n in names
        ]
        for name, result, training in zip(names, step["results"], step["trainings"], strict=True):
            record = json.loads((folder / "results" / f"of-{name}" / "result.json").read_text())
            metrics = json.loads((folder / "runs" / name / "metrics.json").read_text())
            assert {k: result[k] for k in record["headline"]} == record["headline"]
            assert training["overfit"] == metrics["on train"]["Mean@0.1"] - metrics["best"]["Mean@0.1"]
    values = [
        json.loads((folder / "results" / f"of-{n}" / "result.json").read_text())["headline"]
        for n in ("rate", "rate-seed2")
    ]
    assert f"<b>{np.mean([v['mean_sms_0.1'] for v in values]):.1f}</b>" in text
    assert f"<b>{np.mean([v['height_mae_cm'] for v in values]):.2f}</b>" in text
    assert values[0]["height_mae_cm"] == pytest.approx(1.0)


def test_steps_that_refuse_every_clip_show_the_error_of_what_was_worked_out(tmp_path):
    for hour, name, error in ((0, "one", 3.0), (24, "two", 2.0)):
        make.training(tmp_path / "runs", name, hour, data=name)
        clips = make.measured([None, None], refused=error)
        make.evaluation(
            tmp_path / "results", f"of-{name}", hour + 1, name, frames=make.infants(POSTURES), clips=clips
        )
    write_dashboard([tmp_path], tmp_path / "page.html", Options())
    text = (tmp_path / "page.html").read_text()
    assert "height MAE, cm over steps" in text
    assert "refused too 2.00 (2.00-2.00)<" in text
    assert [s["results"][0]["height_estimate_mae_cm"] for s in data_of(text)["steps"]] == [3.0, 2.0]


def test_where_every_clip_is_refused_the_yield_is_told(tmp_path):
    make.evaluation(
        tmp_path, "poc", 1, "poc", frames=make.infants(POSTURES), clips=make.measured([None, None])
    )
    write_dashboard([tmp_path], tmp_path / "page.html", Options())
    text = (tmp_path / "page.html").read_text()
    assert re.search(r"clips measured, %<a [^>]*>r1</a></span><b>0</b>", text)
    assert '<span class="nowrap">0</span>' in text


def ref(text, folder, file):
    """The number of a record by its file, as the table of records has it."""
    return re.search(
        rf'<tr id="(r\d+)">(?:(?!</tr>).)*<code>{re.escape(str(folder / file))}</code>', text, re.S
    ).group(1)


def test_every_link_leads_to_a_record_with_its_file_and_command(page, folder):
    _, text = page
    linked = set(re.findall(r'href="#(r\d+)"', text))
    rows = set(re.findall(r'<tr id="(r\d+)">', text))
    assert linked
    assert linked <= rows
    records = data_of(text)["records"]
    assert rows == records.keys()
    for record in records.values():
        assert (folder / record["file"]).is_file()
        assert record["command"].startswith("heightpose ")
        assert html.escape(record["command"]) in text
    command = records[ref(text, folder, "results/of-more/result.json")]["command"]
    assert f"--run {folder / 'runs' / 'more'}" in command


@pytest.mark.parametrize(
    ("pose", "detector", "of", "settings", "options"),
    [
        ("pose-fast", "detector", None, {}, "--model fast"),
        ("pose-accurate", "detector", None, {"tta": "none"}, "--model accurate --tta none"),
        ("mine", "cots", None, {"tta": "flip,rotate"}, "--model mine.onnx --detector cots.onnx --tta flip,rotate"),
        ("pose", "detector", "poc", {"tta": "flip"}, "--run poc"),
        ("pose", "cots", "poc", {}, "--run poc --detector cots.onnx"),
        ("pose", "detector", "poc", {"truth_crops": True, "limit": 3}, "--run poc --truth-crops --limit 3"),
        ("pose-fast", "detector", "poc", {}, "--run poc"),
        ("pose-accurate", "detector", "poc", {}, "--run poc --model accurate"),
    ],
)  # fmt: skip
def test_an_evaluations_command_holds_every_option_that_decides_its_figures(
    tmp_path, pose, detector, of, settings, options
):
    path = make.evaluation(tmp_path, "result", 1, of, frames=make.infants(POSTURES)) / "result.json"
    document = json.loads(path.read_text())
    document["models"]["pose"]["name"], document["models"]["detector"]["name"] = (
        f"{pose}.onnx",
        f"{detector}.onnx",
    )
    document["settings"] |= settings
    path.write_text(json.dumps(document))
    (result,) = read_runs([tmp_path]).evaluations
    words = f"{options} --out {result.folder}"
    assert result.command() == f"heightpose eval --testset SOMEWHERE/{document['testset']['folder']} {words}"
    assert result.command(pictures=Path("my sets/a")) == f"heightpose eval --testset 'my sets/a' {words}"
    document["testset"] |= {"frozen": False, "split": "val"}
    assert replace(result, document=document).command() == (
        f"heightpose eval --data SOMEWHERE/{document['testset']['folder']} --split val {words}"
    )


@pytest.mark.parametrize(
    ("pose", "detector", "option"),
    [
        ("openvino 2026.4.1", "openvino 2026.4.1", ""),
        ("torch 2.9", "torch 2.9", "--backend torch "),
        ("torch 2.9", "openvino 2026.4.1", ""),  # weights that torch alone reads: no option gives both
    ],
)
def test_an_evaluations_command_names_the_backend_that_was_asked_for(tmp_path, pose, detector, option):
    path = make.evaluation(tmp_path, "result", 1, "poc", frames=make.infants(POSTURES)) / "result.json"
    document = json.loads(path.read_text())
    document["backend"] = {"pose": {"name": pose}, "detector": {"name": detector}}
    path.write_text(json.dumps(document))
    (result,) = read_runs([tmp_path]).evaluations
    assert result.command().endswith(f" --run poc {option}--out {result.folder}")


def test_the_command_names_the_folder_where_the_set_was_found(tmp_path):
    """Not the set's name, by which only sets under eval/testsets are known, and only if their folder is called so."""
    path = make.evaluation(tmp_path / "results", "result", 1, frames=make.infants(POSTURES)) / "result.json"
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "testset.yaml").write_text("name: cots\n")
    document = json.loads(path.read_text())
    document["testset"]["sha256"] = hashlib.sha256((place / "testset.yaml").read_bytes()).hexdigest()
    path.write_text(json.dumps(document))
    for pictures, where in (((place,), str(place)), ((), "SOMEWHERE/cots")):
        write_dashboard([tmp_path / "results"], tmp_path / "page.html", Options(pictures=pictures))
        text = (tmp_path / "page.html").read_text()
        assert f"<code>heightpose eval --testset {where} " in text
        assert ("SOMEWHERE stands for" in text) == (not pictures)


def test_the_page_needs_nothing_but_itself(page):
    _, text = page
    assert not re.search(r"https?:|//[a-z]", text.replace("<!doctype", ""))
    assert not re.search(r"<(link|iframe|object|embed|base)\b|@import|\burl\((?!#)|\bfetch\(|XMLHttp", text)
    assert set(re.findall(r'\bsrc="([^"]{0,5})', text)) <= {"data:"}


def test_what_records_say_is_escaped(tmp_path):
    evil = "</script><script>alert(1)</script>"
    make.training(tmp_path / "runs", "run", 0, note=evil)
    write_dashboard([tmp_path], tmp_path / "page.html", Options(title=evil))
    text = (tmp_path / "page.html").read_text()
    assert text.count("<script") == 2  # the page's own
    assert data_of(text)["steps"][0]["name"] == evil


def test_a_page_long_note_leaves_room_for_the_figures(tmp_path):
    make.training(tmp_path, "run", 0, note="very long " * 500)
    write_dashboard([tmp_path], tmp_path / "page.html", Options())
    text = (tmp_path / "page.html").read_text()
    shown = html.unescape(re.search(r"<b title=[^>]*>([^<]*)</b>", text).group(1))
    assert shown == ("very long " * 12)[:119] + "…"
    assert data_of(text)["steps"][0]["name"] == "very long " * 500


def test_a_legend_names_only_what_is_drawn(tmp_path):
    make.evaluation(tmp_path, "of-shipped", 1, frames=make.infants(POSTURES))
    write_dashboard([tmp_path], tmp_path / "page.html", Options())
    assert "validation, true boxes" not in (tmp_path / "page.html").read_text()


def test_correlation_over_runs_with_its_interval(page):
    ((_, _, points, found),) = correlations(page[0])
    assert found.n == len(points) == 4
    assert found.r == pytest.approx(np.corrcoef([p[2] for p in points], [p[3] for p in points])[0, 1])
    assert found.r < 0
    assert found.interval[0] <= found.r <= found.interval[1]


def test_ablations_say_what_they_show(page):
    _, text = page
    part = text[text.index(">Ablations</h2>") :]
    rows = {m[0]: m[1] for m in re.findall(r"<tr><td>(lr [^<]*)</td>(.*?)</tr>", part, re.S)}
    assert list(rows) == ["lr 1e-3", "lr 2e-3", "lr 5e-3"]
    assert "base" in rows["lr 1e-3"]
    assert '<span class="good">better</span>' in rows["lr 2e-3"]
    assert "no difference shown" in rows["lr 5e-3"]


def test_ablation_cells_are_no_steps_and_copies_count_once(folder, tmp_path):
    view = look([folder, folder / "runs"], Options())
    assert "cell" not in [r.name for s in view.line.steps for r in s.runs]
    assert len({r.id for r in view.runs.trainings}) == len(view.runs.trainings) == 5


def test_results_on_other_pictures_under_the_same_labels_share_no_line(tmp_path):
    for hour, files in enumerate(("1", "1", "2")):
        test = make.SET | {"files_sha256": files}
        make.evaluation(tmp_path, f"r{hour}", hour, frames=make.infants(POSTURES), test=test)
    assert len({e.testset for e in read_runs([tmp_path]).evaluations}) == 2


@pytest.mark.parametrize("of", ["poc", None], ids=["a training's weights", "weights without a record"])
@pytest.mark.parametrize(
    ("kind", "models"),
    [
        ("calibration of joint scores", {"pose": {"calibration_sha256": "2" * 64}}),
        ("cover model", {"cover": {"name": "cover.onnx", "sha256": "2" * 64}}),
        ("elevation model", {"elevation": {"name": "lift.json", "sha256": "2" * 64}}),
        (None, {}),
    ],
)
def test_of_a_result_that_another_took_the_place_of_it_is_told(tmp_path, of, kind, models):
    children = {"posture": dict.fromkeys(POSTURES, 7)}
    make.training(tmp_path, "poc", 0, children=children)
    make.evaluation(tmp_path, "before", 1, of, frames=make.infants(POSTURES, wrong=[("side", 3)]))
    after = make.evaluation(tmp_path, "after", 2, of, frames=make.infants(POSTURES, wrong=[("front", 2)]))
    result = json.loads((after / "result.json").read_text())
    for name, model in models.items():
        result["models"][name] = result["models"].get(name, {}) | model
    (after / "result.json").write_text(json.dumps(result))
    view = write_dashboard([tmp_path], tmp_path / "page.html", Options())
    text = (tmp_path / "page.html").read_text()
    now, was = (ref(text, tmp_path, f"{name}/result.json") for name in ("after", "before"))
    (told,) = [one for step in data_of(text)["steps"] for one in step["replaced"]]
    assert told == {
        "record": was, "by": now, "differs": [] if kind is None else [f"{kind} not recorded → 222222"]
    }  # fmt: skip
    assert re.search(
        rf"judged again on cots v1: <a [^>]*>{now}</a> is shown, <a [^>]*>{was}</a> is not", text
    )
    if of is not None:
        assert [a.train for a in view.ranking.advice] == [7] * len(view.ranking.advice)


def test_a_result_made_once_more_is_not_told_of(tmp_path):
    for hour in (1, 2):
        make.evaluation(tmp_path, f"r{hour}", hour, frames=make.infants(POSTURES))
    view = write_dashboard([tmp_path], tmp_path / "page.html", Options())
    assert len(view.line.steps) == 1
    assert "judged again on" not in (tmp_path / "page.html").read_text()


def test_a_part_of_a_set_has_a_name_of_its_own_in_legends_and_cards(tmp_path):
    for hour, limit in enumerate((None, 6)):
        folder = make.evaluation(tmp_path, f"r{hour}", hour, frames=make.infants(POSTURES[:1], each=1))
        result = json.loads((folder / "result.json").read_text())
        result["settings"]["limit"] = limit
        (folder / "result.json").write_text(json.dumps(result))
    whole, part = [e.testset[0] for e in read_runs([tmp_path]).evaluations]
    assert part == f"{whole}, first 6"


def test_fifty_runs(tmp_path):
    figures = summarise(make.infants(POSTURES[:2], each=2), make.measured([1.0]))
    for i in range(50):
        make.training(tmp_path / "runs", f"run-{i}", i, data=f"d{i % 10}", lr=1e-3 * (1 + i), val=40 + i % 7)
        own = figures | {
            "headline": figures["headline"] | {"mean_sms_0.1": 40 + i, "height_mae_cm": 3 - i / 50}
        }
        make.evaluation(tmp_path / "results", f"of-{i}", i + 0.5, f"run-{i}", figures=own)
    view = write_dashboard([tmp_path], tmp_path / "page.html", Options())
    assert len(view.line.steps) == 50
    text = (tmp_path / "page.html").read_text()
    assert ">D A</text>" not in text  # letters of so many steps would run into each other
    assert "upright: data and algorithm" in text
    assert (tmp_path / "page.html").stat().st_size < 2_000_000
    found = correlations(view)[0][3]
    assert found.n == 50
    assert found.r == pytest.approx(-1.0)


def test_the_command_writes_page_and_advice(folder, tmp_path):
    finding = {"rank": 1, "kind": "swap", "severity": 9.5, "file": "7.jpg", "text": "<left> is right",
               "annotation_id": 0}  # fmt: skip
    (tmp_path / "findings.json").write_text(json.dumps({"data": "cots", "findings": [finding]}))
    out, advice = tmp_path / "new" / "page.html", tmp_path / "next.json"
    done = CliRunner().invoke(
        cli, ["dashboard", "--runs", str(folder), "--out", str(out), "--advice", str(advice), "--checks",
              str(tmp_path / "findings.json")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "3 steps from 5 trainings, 4 evaluations, 1 ablation; 4 records skipped" in done.output
    text = out.read_text()
    assert "&lt;left&gt; is right" in text
    assert re.search(r"7\.jpg</td><td[^>]*>0</td>", text)
    assert data_of(text)["advice"] == json.loads(advice.read_text())


def test_commands_in_the_text_can_be_pasted_as_they_are(tmp_path):
    asked = {"": {}, "--no-model ": {"model": None}, "--model m.onnx ": {"model": "m.onnx"}}
    checks, results = [], tmp_path / "two results"
    for hour, name in enumerate(("a", "b")):
        make.training(tmp_path / "runs", name, hour, data=name)
        make.evaluation(results, name, hour + 0.5, name, frames=make.infants(POSTURES[:2]))
    for number, model in enumerate(asked.values()):
        checks.append(tmp_path / f"report {number}" / "findings.json")
        checks[-1].parent.mkdir()
        checks[-1].write_text(json.dumps({"data": "my cots", "findings": [], **model}))
    write_dashboard([tmp_path], tmp_path / "page.html", Options(checks=tuple(checks)))
    text = html.unescape((tmp_path / "page.html").read_text())
    assert f"heightpose eval compare '{results / 'a'}' '{results / 'b'}'" in text
    for path, words in zip(checks, asked, strict=True):
        assert f"heightpose data check 'my cots' {words}--out '{path.parent}'" in text


def test_a_target_of_what_the_test_set_does_not_have_is_said(folder, tmp_path):
    target = tmp_path / "target.yaml"
    target.write_text("posture: {back: 1, sied: 1, lap: 0}\npostures: {side: 1}\n")
    done = CliRunner().invoke(
        cli, ["dashboard", "--runs", str(folder), "--out", str(tmp_path / "p.html"), "--target", str(target)]
    )
    assert done.exit_code == 0, done.output
    named = [line for line in done.output.splitlines() if line.startswith("--target: ")]
    assert ["posture=sied" in named[0], "postures=side" in named[1], len(named)] == [True, True, 2]


def test_nothing_there_is_said(tmp_path):
    view = write_dashboard([tmp_path], tmp_path / "page.html", Options())
    assert not view.line.steps
    assert "No run record was found" in (tmp_path / "page.html").read_text()
    done = CliRunner().invoke(cli, ["dashboard", "--runs", str(tmp_path / "gone")], standalone_mode=False)
    assert "no such folder" in str(done.exception)
