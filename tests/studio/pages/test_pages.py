"""What the pages say, without a browser: in plain words, and whatever the folder holds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")

from roinspect.data.check import check
from roinspect.data.dataset import load_sample
from roinspect.data.reading import read_data
from roinspect.data.roi import attach_roi, is_outside_only
from roinspect.errors import UserError
from roinspect.evaluation.report import plot_words
from roinspect.images.pixels import write_image
from roinspect.inspection.bundle import Threshold
from roinspect.review.corrections import read_corrections, store_of
from roinspect.review.rows import read_results
from roinspect.review.truths import Parts
from roinspect.studio.pages.camera import camera, look_at, say
from roinspect.studio.pages.elements import as_note, note
from roinspect.studio.pages.judge import about, report_links
from roinspect.studio.pages.judging import figures_at, wall
from roinspect.studio.pages.photographs import in_words, summary
from roinspect.studio.pages.shell import Page
from roinspect.studio.pages.train import worth
from roinspect.studio.state import results
from roinspect.studio.state.jobs import latest
from roinspect.studio.state.people import add_labelled, keep_label, move_labelled, who
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.results import Result
from roinspect.studio.state.trained_models import evaluation_path, model_path, new_path

TABLE = """key,category,label,place,pred_score,verdict,reason,error
test/dent/d.png,dent,1,inside,0.9,defective,,
test/good/c.png,good,0,none,0.2,good,,
test/good/e.png,good,0,none,0.7,defective,,
test/dent/f.png,dent,1,inside,0.1,good,,
test/hole/g.png,hole,0,outside,0.6,defective,,
test/good/h.png,good,,,,,,h.png: cut off; copy it again
"""


@pytest.fixture
def model(project: Project) -> Path:
    path = new_path(project, "m-1")
    evaluation_path(path).mkdir(parents=True)
    (evaluation_path(path) / "predictions.csv").write_text(TABLE)
    return path


def test_rejects_and_escapes_follow_the_threshold(model: Path) -> None:
    found = results.read_results(model)
    assert [one.key[-5] for one in found] == ["d", "e", "g", "c", "f", "h"]
    assert results.tally(found, 0.5) == (3, 2, 2, 1, 1, 0)
    assert results.tally(found, 0.05) == (3, 3, 2, 0, 1, 0)
    assert results.tally(found, 1.0) == (3, 0, 2, 2, 1, 0)
    assert {one.key[-5] for one in results.chosen(found, 0.5, "wrong")} == {"e", "f", "g"}
    assert len(results.chosen(found, 0.5, "rejected")) == 3 and len(results.chosen(found, 0.5, "passed")) == 2


def test_a_wrong_verdict_makes_the_label_the_other_one_and_can_be_taken_back(model: Path) -> None:
    (one,) = (one for one in results.read_results(model) if one.key == "test/good/e.png")
    results.mark_wrong(model, one, threshold=0.1, by="Kim")
    (again,) = (x for x in results.read_results(model) if x.key == one.key)
    assert again.is_corrected and again.label == 0
    results.mark_wrong(model, again, threshold=0.1, by="Kim")
    assert results.corrections(model) == {}
    (unread,) = (x for x in results.read_results(model) if x.error)
    with pytest.raises(UserError, match="no verdict"):
        results.mark_wrong(model, unread, 0.5, "Kim")


def test_a_wrong_verdict_is_kept_with_who_and_when_and_so_is_taking_it_back(model: Path) -> None:
    for by in ("Kim", "Lou"):
        (one,) = (one for one in results.read_results(model) if one.key == "test/good/e.png")
        results.mark_wrong(model, one, threshold=0.8, by=by)
    first, second = read_corrections(evaluation_path(model) / "corrections.jsonl")
    assert (first.part, first.truth, first.by) == ("test/good/e.png", "defective", "Kim")
    assert (second.truth, second.by) == ("unknown", "Lou") and first.time <= second.time
    assert first.remark == "verdict at 0.8: good"


def test_corrections_of_earlier_versions_are_read_and_can_be_taken_back(
    project: Project, model: Path
) -> None:
    (evaluation_path(model) / "corrections.json").write_text('{"test/good/e.png": 1, "test/dent/f.png": 0}')
    assert results.corrections(model) == {"test/good/e.png": 1, "test/dent/f.png": 0}
    (one,) = (one for one in results.read_results(model) if one.key == "test/good/e.png")
    assert one.is_corrected and one.label == 1
    results.mark_wrong(model, one, threshold=0.5, by="Kim")
    assert results.corrections(model) == {"test/dent/f.png": 0}
    (model / "bundle.json").parent.mkdir(parents=True, exist_ok=True)
    (model / "bundle.json").write_text("{}")
    results.rename(project, "test/dent/f.png", "train/dent/f.png", category="dent", label=None, by="Kim")
    assert results.corrections(model) == {"train/dent/f.png": 0}


def test_who_says_so_is_the_name_on_the_page_or_the_account() -> None:
    from roinspect.audit.recording import account

    assert who("  Kim   L. ") == "Kim L."
    assert who("") == who(None) == who(" ") == f"account {account()}"


def test_a_label_given_to_a_photograph_is_kept(project: Project) -> None:
    keep_label(project, "train/dent/x.png", label=1, kind="dent", by="Kim", remark="dropped as x.png")
    keep_label(project, "train/good/y.png", label=0, kind="dent", by="Kim", remark="")
    first, second = read_corrections(project.state / "corrections.jsonl")
    assert (first.part, first.truth, first.kind, first.by) == ("train/dent/x.png", "defective", "dent", "Kim")
    assert (second.truth, second.kind) == ("good", "")


def test_what_cannot_be_kept_with_who_and_when_is_not_done(
    project: Project, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "bundle.json").parent.mkdir(parents=True, exist_ok=True)
    (model / "bundle.json").write_text("{}")
    key, record = next((key, one) for key, one in project.records().items() if one.label == 0)
    store = project.state / "corrections.jsonl"
    store.mkdir()
    for act in (
        lambda: move_labelled(project, key, label=1, kind="stain", split="test", by="Kim"),
        lambda: add_labelled(project, record.image_path, label=1, kind="stain", split="test", by="Kim"),
    ):
        before = sorted(project.folder.rglob("*"))
        with pytest.raises(UserError, match=r"corrections\.jsonl"):
            act()
        assert sorted(project.folder.rglob("*")) == before
    store.rmdir()
    added = add_labelled(project, record.image_path, label=1, kind="stain", split="test", by="Kim")
    moved = move_labelled(project, key, label=1, kind="dent", split="test", by="Kim")
    assert [(one.part, one.truth, one.kind) for one in read_corrections(store)] == [
        (added, "defective", "stain"),
        (moved, "defective", "dent"),
    ]
    assert {added, moved} <= project.records().keys() and key not in project.records()
    # The results that were judged, too.
    results.mark_wrong(model, results.result_of(model, "test/good/e.png"), threshold=0.5, by="Kim")

    def fail(*_: object) -> None:
        raise UserError("cannot be written", where="corrections.jsonl", remedy="free space")

    monkeypatch.setattr(results, "add_corrections", fail)
    table = (evaluation_path(model) / "predictions.csv").read_text()
    with pytest.raises(UserError, match="cannot be written"):
        results.rename(project, "test/good/e.png", "train/x.png", category="x", label=1, by="Kim")
    assert (evaluation_path(model) / "predictions.csv").read_text() == table


def test_what_is_said_of_a_cameras_verdict_lies_where_the_review_looks(project: Project) -> None:
    folder, out = project.folder / "camera", project.state / "watch" / "m-1.jsonl"
    out.parent.mkdir(parents=True)
    states = ((10, 1), (10, 2), (11, 3))
    rows = [
        {"image_path": str(folder / "a.png"), "verdict": "good", "pred_score": 0.1, "threshold": 0.5}
        | {"bytes": size, "mtime_ns": changed, "map_factor": 1.0, "map": "none"}
        for size, changed in states
    ]
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = {"kind": "watch", "subject": "m-1", "started": 1.0}
    job["commands"] = [["watch", "m-1", str(folder), "--out", str(out)]]
    (project.state / "jobs" / "1").mkdir(parents=True)
    (project.state / "jobs" / "1" / "job.json").write_text(json.dumps(job))
    watching = latest(project, "watch")
    assert watching is not None and look_at(watching, "1").was is None
    assert 'data-key="2"' in camera(watching, project.id)
    say(watching, "1", "defective", "Kim & Co", "dent")
    shown = look_at(watching, "1")
    assert shown.was is not None and "Kim &amp; Co says: dent" in shown.words
    # Of this photograph alone, not of others that had the same name.
    assert camera(watching, project.id).count("says:") == 1
    assert Parts(read_results(out)).find("a.png", None, "")[0].line == 3
    (entry,) = read_corrections(store_of(out))
    assert (entry.photograph, entry.by) == ((str(folder / "a.png"), (10, 2)), "Kim & Co")
    say(watching, "1", "unknown", "Kim & Co", "dent")
    assert look_at(watching, "1").was is None and "says:" not in camera(watching, project.id)
    with pytest.raises(UserError, match="is not here any more"):
        say(watching, "3", "good", "Kim")


def test_a_region_that_leaves_much_damage_out_is_questioned() -> None:
    inside = [Result(f"in/{n}", "dent", 1, 1.0) for n in range(6)]
    outside = [Result(f"out/{n}", "dent", 0, 0.1, is_outside_only=True) for n in range(5)]
    assert results.too_small_region([*inside, *outside[:3]]) == results.too_small_region([]) == ""
    assert "5 of 11 damaged parts count as good" in results.too_small_region([*inside, *outside])
    corrected = [dataclasses.replace(one, label=1, is_corrected=True) for one in outside]
    assert results.too_small_region([*inside, *corrected]) == ""


def test_a_defect_that_is_too_small_inside_the_region_makes_a_good_part(
    project: Project, model: Path
) -> None:
    roi_mask, gt_mask = np.zeros((24, 32), np.uint8), np.zeros((24, 32), np.uint8)
    roi_mask[:, :16], gt_mask[8, 12:24] = 255, 255
    write_image(project.folder / "roi/test/dent/d.png", roi_mask)
    write_image(project.folder / "ground_truth/dent/d_mask.png", gt_mask)
    project.forget()
    (record,) = attach_roi(read_data(project.folder), [project.record("test/dent/d.png")])
    for min_pixels, counts_as_good in ((4, False), (5, True)):
        sample = load_sample(record, None, min_pixels=min_pixels)
        row = f"{record.key},dent,{sample.label},{sample.place},0.9,defective,,\n"
        (evaluation_path(model) / "predictions.csv").write_text(TABLE.partition("\n")[0] + "\n" + row)
        (result,) = results.read_results(model)
        assert result.is_outside_only == counts_as_good == is_outside_only(sample.label, sample.place)


def test_what_a_model_is_worth_is_told_with_what_would_help(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = SimpleNamespace(threshold=SimpleNamespace(value=0.5, origin="rejects 0 of 9 good parts"))
    monkeypatch.setattr("roinspect.studio.pages.train.read_bundle", lambda _: bundle)
    log = "roinspect: WARNING: 3 held-out good parts cannot support a false-reject rate\n" * 2
    told_ = worth(model, log)
    assert "rejects 1 of 2 defective parts and 2 of 3 good ones" in told_[0] and "To do better" in told_[0]
    assert len(told_) == 2 and "WARNING" not in told_[1] and "3 kept-back" in told_[1]
    assert worth(model.with_name("other"), log) == []


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        ({"split": "train", "trained_on": 4, "photographs": 5}, "trained on 4 of the 5"),
        ({"split": "test", "trained_on": 1, "photographs": 5}, "trained on 1 of the 5"),
        ({"split": "val", "trained_on": 0, "photographs": 5}, "threshold was set on those"),
    ],
)
def test_photographs_it_learned_from_are_no_success(
    model: Path, monkeypatch: pytest.MonkeyPatch, measured: dict[str, object], words: str
) -> None:
    bundle = SimpleNamespace(threshold=SimpleNamespace(value=0.5, origin="rejects 0 of 9 good parts"))
    monkeypatch.setattr("roinspect.studio.pages.train.read_bundle", lambda _: bundle)
    file = results.evaluation_path(model) / "metrics.json"
    before = file.read_bytes() if file.exists() else None
    file.write_text(json.dumps(measured), encoding="utf-8")
    try:
        (told_,) = worth(model, "")
    finally:
        file.unlink() if before is None else file.write_bytes(before)
    assert words in told_ and "It rejects" not in told_ and "rejects 0 of 9 good parts" in told_


def test_a_warning_of_the_threshold_is_shown(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warning = "1 of 90 good photographs score far above the others: good/<b>.png"
    bundle = SimpleNamespace(score_says="", threshold=Threshold(0.5, "rejects 0 of 9 good parts", warning))
    monkeypatch.setattr("roinspect.studio.pages.judge.read_bundle", lambda _: bundle)
    shown = about(model)
    assert "score far above the others: good/&lt;b&gt;.png." in shown and "<b>.png" not in shown


def test_the_slider_reaches_all_scores_in_round_steps(model: Path) -> None:
    found = results.read_results(model)
    low, high, step = results.slider_range(found, 0.5)
    assert low < 0.1 and high > 0.9 and step == 0.001 and round(low / step) == pytest.approx(low / step)
    same = [Result("a", "good", 0, 7.0)]
    assert results.slider_range(same, 7.0)[0] < 7 < results.slider_range(same, 7.0)[1]
    assert results.slider_range([], 0.5)[0] < 0.5


def test_results_are_shown_a_page_at_a_time(project: Project) -> None:
    many = [Result(f"k/{n}.png", "good", n % 2, n / 20_000) for n in range(20_000)]
    cards, place = wall(project, many, 0.5, "all", 999_999)
    assert place == 833 and cards.count("<button") == 8 and "20,000" in cards
    assert "of 10000 good parts" in figures_at(many, 0.5)
    assert "no such photographs" in wall(project, [], 0.5, "wrong", 0)[0]


def test_a_model_that_was_not_judged_says_so(project: Project) -> None:
    with pytest.raises(UserError, match="not judged yet"):
        results.read_results(new_path(project, "m-2"))


def test_what_the_check_found_is_said_in_words(project: Project) -> None:
    (project.folder / "train/good/b.png").write_bytes(b"text")
    words = in_words(check(list(project.records().values())))
    assert "Problem:" in words and "b.png" in words and "Fix these" in words
    assert "Draw the region" in summary(project) and "Twenty or more" in summary(project)


def test_names_of_files_are_no_html(project: Project, model: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    assert "<img" not in note(evil, link=(evil, evil))
    assert "<img src=x" not in wall(project, [Result(evil, evil, 0, 1.0)], 0.5, "all", 0)[0]


def test_faults_become_messages_and_change_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import gradio as gr

    asked = dict[str, Any]()

    def event(handler: Callable[..., Any], inputs: Any, outputs: Any, **given: Any) -> Callable[..., Any]:
        asked.update(given, outputs=outputs)
        return handler

    def fails(kind: str) -> tuple[int, int]:
        if kind == "user":
            raise UserError("is broken", where="<b>this</b>", remedy="mend it")
        if kind == "disk":
            raise OSError(28, "No space left on device")
        return 1, len(kind) // (kind != "bug")

    page = Page(
        SimpleNamespace(load=None),
        Projects(None, confined_to=None, recent_file=tmp_path / "x"),
        "",
        "",
        "fault",
    )
    once = page.answer(event, fails, "kind", ["a", "b"])
    assert asked["outputs"] == ["a", "b", "fault"] and asked["queue"] is False
    assert once("good") == (1, 4, gr.skip())
    for kind, words in (
        ("user", "&lt;b&gt;this&lt;/b&gt;: is broken; mend it"),
        ("disk", "No space left"),
        ("bug", "ZeroDivisionError"),
    ):
        *kept, said = once(kind)
        assert kept == [gr.skip(), gr.skip()] and words in said
    assert said != once("bug")[-1], "the same message twice is seen twice"
    assert sum(record.name.startswith("roinspect") for record in caplog.records) == 2, "only bugs are logged"


def test_a_generator_is_asked_for_its_next_answer_until_a_new_event_ends_it(tmp_path: Path) -> None:
    import gradio as gr

    asked = list[tuple[Callable[..., Any], Any, Any, dict[str, Any]]]()

    def event(handler: Callable[..., Any], inputs: Any, outputs: Any, **given: Any) -> None:
        asked.append((handler, inputs, outputs, given))

    def steps(kind: str) -> Iterator[str]:
        yield f"{kind}: begun"
        if kind == "bad":
            raise UserError("is broken", where=kind)
        yield f"{kind}: done"

    with gr.Blocks() as blocks:
        said, name, to = gr.HTML(), gr.Textbox(), gr.HTML()
        page = Page(blocks, Projects(None, confined_to=None, recent_file=tmp_path / "x"), "", "", to)
        page.answer(event, steps, name, said, js="() => []")
    (begin, (state, given), outputs, settings) = asked[0]
    assert given is name and outputs[:2] == [said, to] and settings["queue"] is False and settings["js"]
    tick = next(fn for fn in blocks.fns.values() if fn.targets[0][1] == "tick")
    assert not tick.queue, "an event in the queue may never be answered"
    step, running = tick.fn, state.value

    def told(answer: Any) -> tuple[Any, Any, bool]:
        return answer[0], answer[1], answer[2]["active"] if isinstance(answer[2], dict) else answer[2].active

    assert told(begin(running, "a")) == ("a: begun", gr.skip(), True)
    assert told(step(running)) == ("a: done", gr.skip(), True)
    assert told(step(running)) == (gr.skip(), gr.skip(), False)
    begin(running, "bad")
    kept, words, goes_on = told(step(running))
    assert kept == gr.skip() and "bad: is broken" in words and not goes_on

    def supplanted(kind: str) -> Iterator[str]:
        begin(running, "b")
        yield kind

    running.answers = supplanted("late")
    assert step(running) == (gr.skip(), gr.skip(), gr.skip()), "an answer to what nobody asks any more"
    assert told(step(running)) == ("b: done", gr.skip(), True)


def test_a_step_that_comes_first_is_no_problem(project: Project) -> None:
    missing = as_note(lambda: str(model_path(project, None)))
    assert (
        "Problem" not in missing
        and "There is no trained model yet." in missing
        and 'href="/train"' in missing
    )
    unjudged = as_note(lambda: str(results.read_results(new_path(project, "m-2"))))
    assert (
        "Problem" not in unjudged
        and "M-2 was not judged" not in unjudged
        and "m-2 was not judged" in unjudged
    )
    none_open = as_note(
        lambda: str(Projects(None, confined_to=None, recent_file=project.state / "x").get(""))
    )
    assert "Problem" not in none_open and 'href="/"' in none_open

    def broken() -> str:
        raise UserError("cannot be read", where="m-1")

    assert "Problem" in as_note(broken)


def test_a_report_is_linked_where_there_is_one(project: Project, model: Path) -> None:
    assert report_links(project, model) == ""
    (evaluation_path(model) / "report.html").write_text("<html>")
    words = report_links(project, model)
    assert words.count(f"/studio/report?project={project.id}&amp;model=m-1") == 2 and "save=1" in words


def test_a_moved_photograph_keeps_its_result(project: Project, model: Path) -> None:
    (model / "bundle.json").parent.mkdir(parents=True, exist_ok=True)
    (model / "bundle.json").write_text("{}")
    by_key = {one.key: one for one in results.read_results(model)}
    results.mark_wrong(model, by_key["test/good/e.png"], threshold=0.5, by="Kim")
    results.mark_wrong(model, by_key["test/good/c.png"], threshold=0.5, by="Kim")
    results.rename(project, "test/good/c.png", "train/dent/c.png", category="dent", label=1, by="Kim")
    results.rename(project, "test/good/e.png", "train/good/e.png", category="good", label=None, by="Kim")
    results.rename(project, "not/there.png", "x.png", category="x", label=1, by="Kim")
    after = {one.key: one for one in results.read_results(model)}
    assert after.keys() ^ by_key.keys() == {
        "test/good/c.png",
        "test/good/e.png",
        "train/dent/c.png",
        "train/good/e.png",
    }
    moved = after["train/dent/c.png"]
    assert (moved.label, moved.category, moved.is_corrected, moved.pred_score) == (1, "dent", False, 0.2)
    assert after["train/good/e.png"].is_corrected and set(results.corrections(model)) == {"train/good/e.png"}


def test_words_of_statistics_and_of_networks_are_said_plainly() -> None:
    said = results.plain_words("rejects 0 of 24 good parts (4 held out, 20 left out in turn)")
    assert "held" not in said and "4 kept back" in said and "in turn" not in said
    assert plot_words("roi_head").startswith("error in finding the region")
