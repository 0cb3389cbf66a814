"""What to annotate next: error, share of the target and learning curve each move the ranking as they should."""

from __future__ import annotations

import re

import pytest
import run_folders as make
from click.testing import CliRunner

from heightpose.cli.main import cli
from heightpose.errors import ConfigError
from heightpose.report.advice import rank
from heightpose.report.advice_target import read_target
from heightpose.report.dashboard import write_dashboard
from heightpose.report.dashboard_style import STYLE
from heightpose.report.dashboard_tables import ADVICE_COLUMNS
from heightpose.report.dashboard_view import Options
from heightpose.report.learning_curve import ASSUMED
from heightpose.report.runs import read_runs
from heightpose.report.timeline import timeline


def result(sms, people=50):
    """Figures of a result with so much MeanSmS@0.1 per posture; as many children as people."""
    count = people if isinstance(people, dict) else dict.fromkeys(sms, people)

    def pose(value, number):
        fine = {
            "mean": value,
            "mean_sms": value,
            "mean_interval": None,
            "mean_sms_interval": [value - 5, value + 5],
        }
        return {"people": number, "children": number, "pckh": {"0.1": fine, "0.5": fine}}

    strata = {v: {"pose": pose(sms[v], count[v]), "height": None} for v in sms}
    mean = sum(sms[v] * count[v] for v in sms) / sum(count.values())
    head = {
        "mean_0.1": mean,
        "mean_sms_0.1": mean,
        "height_mae_cm": None,
        "null_mae_cm": None,
        "height_yield": None,
    }
    return {"headline": head, "pose": pose(mean, sum(count.values())), "truth_crops": None, "height": None,
            "strata": {"posture": strata, "annotator": strata}}  # fmt: skip


def ranking(root, steps, target=None, **test):
    """Of steps of (children in train, MeanSmS@0.1), both by posture."""
    for i, (children, sms) in enumerate(steps):
        make.training(root / "runs", f"run{i}", 10 * i, data=f"d{i}", children={"posture": children})
        make.evaluation(root / "results", f"of{i}", 10 * i + 1, f"run{i}", figures=result(sms, **test))
    return rank(timeline(read_runs([root])), target)


EVEN = {"back": 100, "side": 100}


def test_where_the_error_is_larger_comes_first_and_weights_sum_to_one(tmp_path):
    found = ranking(tmp_path, [(EVEN, {"back": 80.0, "side": 30.0})])
    assert found.advice[0].key == "posture=side"
    document = found.document()
    assert sum(s["weight"] for s in document["strata"]) == pytest.approx(1.0)
    ranked = [(s["weight"], s["score"]) for s in document["strata"]]
    assert ranked == sorted(ranked, reverse=True)
    assert not any("annotator" in s["key"] for s in document["strata"])
    assert any("no learning curve yet" in r for r in document["strata"][0]["reasons"])
    assert found.exponent == ASSUMED


def test_the_score_is_the_formula(tmp_path):
    first = ranking(tmp_path, [(EVEN, {"back": 80.0, "side": 30.0})]).advice[0]
    error = (50 * 70.0 + 8 * 45.0) / 58  # drawn towards the whole set's 45 by eight children
    assert first.error == pytest.approx(error)
    assert first.score == pytest.approx(0.5 * error * (1 - (101 / 102) ** ASSUMED))  # 0.5 % of 200 in train


def test_of_equal_errors_the_one_with_fewer_children_in_train_comes_first(tmp_path):
    found = ranking(tmp_path, [({"back": 400, "side": 20}, {"back": 50.0, "side": 50.0})])
    assert [a.key for a in found.advice] == ["posture=side"]  # the other gains no more than drawing at random


def test_weights_judged_again_by_other_code_keep_their_children_in_train(tmp_path):
    steps = [
        ({"back": 10, "side": 10}, {"back": 60, "side": 40}),
        ({"back": 90, "side": 30}, {"back": 70, "side": 50}),
    ]
    before = ranking(tmp_path, steps)
    make.evaluation(tmp_path / "results", "again", 50, "run1", figures=result(steps[1][1]), commit="d" * 40)
    line = timeline(read_runs([tmp_path]))
    again = rank(line)
    assert len(line.steps) == 3
    assert again.step is line.steps[-1]
    assert again.step.name == "run1, judged again"
    assert [(a.key, a.train, a.score, a.reasons) for a in again.advice] == [
        (a.key, a.train, a.score, a.reasons) for a in before.advice
    ]
    assert not again.mixed


def test_that_the_newest_step_was_judged_on_another_set_alone_is_told(tmp_path):
    steps = [
        ({"back": 10, "side": 10}, {"back": 60, "side": 40}),
        ({"back": 90, "side": 30}, {"back": 70, "side": 50}),
    ]
    ranking(tmp_path, steps)
    make.training(tmp_path / "runs", "new", 40, data="d9", children={"posture": {"back": 99, "side": 99}})
    other = make.SET | {"version": 2, "sha256": "cd" * 32}
    make.evaluation(
        tmp_path / "results", "new", 41, "new", figures=result({"back": 80, "side": 80}), test=other
    )
    page = tmp_path / "page.html"
    told = CliRunner().invoke(cli, ["dashboard", "--runs", str(tmp_path), "--out", str(page)])
    words = "of step 2: step 3, the newest, has no MeanSmS@0.1 on cots v1, which most steps were judged on"
    assert words in told.stderr
    assert words in page.read_text()
    make.evaluation(tmp_path / "results", "old", 42, "new", figures=result({"back": 75, "side": 75}))
    told = CliRunner().invoke(cli, ["dashboard", "--runs", str(tmp_path), "--out", str(page)])
    assert "the newest" not in told.stderr + page.read_text()


def test_the_target_decides_how_much_an_error_matters(tmp_path):
    steps = [(EVEN, {"back": 60.0, "side": 50.0})]
    assert ranking(tmp_path / "a", steps).advice[0].key == "posture=side"
    target = {"posture": {"back": 0.95, "side": 0.05}}
    assert ranking(tmp_path / "b", steps, target).advice[0].key == "posture=back"


def test_the_learning_curve_is_fitted_to_the_iterations(tmp_path):
    # error = 80 * (n / 100) ** -0.5 on the side, on the back nothing is learned
    steps = [
        ({"back": n, "side": n}, {"back": 50.0, "side": 100 - 80 * ((n + 1) / 101) ** -0.5})
        for n in (100, 200, 400)
    ]
    found = ranking(tmp_path, steps)
    assert found.fitted
    assert found.iterations == 3
    assert not found.mixed
    assert found.exponent == pytest.approx(0.25)  # of both together
    own = found.advice[0]
    assert own.key == "posture=side"
    assert own.exponent == pytest.approx((0.5 + 0.25) / 2)  # its own slope drawn half way to it
    assert [n for n, _ in own.curve] == [100, 200, 400]
    assert any("learning curve" in r and "at 400" in r for r in own.reasons)


def test_few_unlucky_infants_do_not_lead_the_ranking(tmp_path):
    sms, people = {"back": 60.0, "side": 40.0, "front": 0.0}, {"back": 50, "side": 50, "front": 1}
    even = {"posture": dict.fromkeys(sms, 1 / 3)}
    found = ranking(tmp_path, [(dict.fromkeys(sms, 100), sms)], even, people=people)
    assert [a.value for a in found.advice] == ["side", "front"]
    assert found.advice[1].mean_sms == 0.0
    assert any("only 1 child of it in the test set" in r for r in found.advice[1].reasons)


@pytest.mark.parametrize(("children", "told"), [(9, True), (10, False)])
def test_that_few_test_children_speak_for_it_stands_on_the_card_and_in_the_answer(tmp_path, children, told):
    few = {"back": 100, "side": 10}
    ranking(tmp_path, [(few, {"back": 80.0, "side": 30.0})], people={"back": 12, "side": children})
    page = tmp_path / "page.html"
    answer = CliRunner().invoke(cli, ["dashboard", "--runs", str(tmp_path), "--out", str(page)]).output
    assert answer.startswith("annotate next: posture=side")
    caveat = f"only {children} children of it in the test set"
    assert (f"({caveat})" in answer) == told
    (card,) = re.findall('class="card"><span class="dim">annotate next.*?</div>', page.read_text())
    assert (f"% of the budget, by the ranking below; but {caveat}: collect test data first" in card) == told


def test_a_value_that_hardly_anybody_shows_does_not_lead_for_its_first_few_children(tmp_path):
    sms, people = {"back": 70.0, "side": 50.0, "front": 60.0}, {"back": 49, "side": 49, "front": 2}
    found = ranking(tmp_path, [({"back": 495, "side": 500, "front": 5}, sms)], people=people)
    side, front = found.advice
    assert (side.value, front.value) == ("side", "front")
    assert front.score > side.score
    assert front.weight < 0.2 < side.weight
    assert "no difference shown" in front.reasons[0]  # 55 to 65 holds the whole set's 59.8
    assert "no difference shown" not in side.reasons[0]


def test_heights_of_repetitions_are_their_mean_as_in_the_table_of_strata(tmp_path):
    frames = make.infants(["back", "side"], wrong={"side": 4})
    for seed, errors in ((1, [2.0, 2.0]), (2, [1.0, None])):
        name, clips = f"run{seed}", make.measured(errors, "side", refused=3.0)
        make.training(tmp_path / "runs", name, seed, seed=seed, children={"posture": EVEN})
        make.evaluation(tmp_path / "results", f"of-{name}", seed + 9, name, frames=frames, clips=clips)
    ranking = write_dashboard([tmp_path], tmp_path / "page.html", Options()).ranking
    assert "height MAE 1.50 cm, 75 % measured" in ranking.advice[0].reasons
    row = re.search(r"posture: side</.*?</tr>", (tmp_path / "page.html").read_text(), re.S).group()
    assert ">1.50<" in row
    assert ">75<" in row


def test_where_no_value_stands_out_the_page_says_that(tmp_path):
    assert not ranking(tmp_path, [(EVEN, {"back": 50.0, "side": 50.0})]).advice
    write_dashboard([tmp_path], tmp_path / "page.html", Options())
    text = (tmp_path / "page.html").read_text()
    assert "of no value of a stratum are more children expected to bring more" in text
    assert "before a model is judged" not in text


def test_nothing_judged_is_no_advice(tmp_path):
    make.training(tmp_path / "runs", "run", 0)
    assert rank(timeline(read_runs([tmp_path]))).document() == {"schema": 1, "strata": []}


def test_a_target_is_read_and_checked(tmp_path):
    path = tmp_path / "target.yaml"
    path.write_text("posture: {back: 3, side: 1}")
    assert read_target(path) == {"posture": {"back": 0.75, "side": 0.25}}
    for text in ("posture: {back: -1}", "posture: {back: .nan}", "posture: 3", "posture: {back: 0}", "[]"):
        path.write_text(text)
        with pytest.raises(ConfigError):
            read_target(path)


@pytest.mark.parametrize("column", ["rank", "share of the budget", "gain"])
def test_on_a_phone_the_reasons_stand_below_and_figures_keep_their_names(column):
    place = ADVICE_COLUMNS.index(column) + 1
    narrow = STYLE[STYLE.index("tr:has(.reasons)") :]
    assert f'tr:has(.reasons) td:nth-child({place})::before {{ content: "{column} "; }}' in narrow
    assert "td { display: block" in narrow
