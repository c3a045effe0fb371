"""The report says what happened in plain words, stands alone, and is written whole or not at all."""

import dataclasses
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from roinspect.errors import UserError
from roinspect.evaluation import charts
from roinspect.evaluation.example_images import Example, ExamplePrediction, heat_inside
from roinspect.evaluation.metrics import RoiMetrics
from roinspect.evaluation.report import (
    BROKEN_DOWN,
    ModelReport,
    ReportContent,
    render,
    signed,
    training_plots,
    write_report,
)
from roinspect.evaluation.wording import confusion, measure_rows, verdict_sentences

TWO = ("CE only", "CEOD")


def picture(seed, height=64, width=96):
    """A made-up part with a defect: image, ROI, truth and a plausible map."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(90, 190, (height, width, 3), np.uint8), (0, 0), 2)
    roi, truth = np.zeros((2, height, width), np.uint8)
    roi[height // 3 :, width // 8 : -width // 8] = 1
    centre = (int(rng.integers(width // 4, 3 * width // 4)), int(rng.integers(height // 2, height - 8)))
    cv2.ellipse(truth, centre, (width // 12, height // 16), 30, 0, 360, 1, -1)
    image[truth == 1] //= 3
    heat = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 2)
    return image, roi, truth, heat / heat.max()


def part(seed, caption="teeth/007.png", verdict="rightly rejected", reconstruction=True, models=1):
    image, roi, truth, heat = picture(seed)
    repaired = cv2.medianBlur(image, 9) if reconstruction else None
    predictions = [ExamplePrediction(heat, 0.5, 0.93, verdict, repaired)]
    predictions += [ExamplePrediction(1 - heat, None, 0.2, "escape")] * (models - 1)
    return Example(caption, image, roi, truth, predictions)


def report(
    seed=0,
    defective=40,
    good=60,
    outside=30,
    threshold=0.5,
    models=("grdnet",),
    examples=(),
    paths=None,
    groups=None,
    **more,
):
    """A report whose models score the same made-up parts; `more` goes to every model."""
    rng = np.random.default_rng(seed)
    label = np.repeat([1, 0, 0], [defective, good, outside])
    outside_only = np.repeat([False, False, True], [defective, good, outside])
    count = len(label)
    truth, roi = np.zeros((count, 8, 8), np.uint8), np.ones((count, 8, 8), np.uint8)
    truth[:defective, 2:4, 2:4] = 1
    names = ["scratch"] * defective + ["good"] * good + ["stain"] * outside
    reports = []
    for name in models:
        kinds = [rng.beta(8, 3, defective), rng.beta(2, 9, good), rng.beta(2, 6, outside)]
        scores = np.concatenate(kinds).round(4)
        metrics = RoiMetrics()
        maps = rng.random(truth.shape, np.float32) + truth
        metrics.update(scores, maps, label, outside_only, truth, roi, names, group=groups)
        origin = "the 99.5 % quantile of 120 held-out good parts"
        reports.append(ModelReport(name, metrics.compute(threshold), origin, scores, **more))
    paths = [f"test/{name}/{index:03d}.png" for index, name in enumerate(names)] if paths is None else paths
    return ReportContent(
        "Zipper, compact GRD-Net", reports, label, outside_only, paths, examples, {"one image": "41 ms"}
    )


def full_report(models=("grdnet",)):
    count = len(models)
    return report(
        models=models,
        examples=[part(1, models=count), part(2, reconstruction=False, models=count)],
        training_curves={
            "train/loss": [(e, 1 / (e + 1)) for e in range(12)],
            "held-out/loss": [(e, 2 / (e + 1)) for e in range(12)],
            "dice": [(0, 0.1), (1, float("nan"))],
        },
        settings={"method": "grdnet", "model": {"base_width": 16, "roi": "target"}},
        fingerprints={"data": "sha256:" + "3f" * 32},
    )


def only(content):
    (model,) = content.models
    return model


def pages_text(page):
    """What a reader reads: no styles, no scripts, no tags."""
    page = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def test_the_verdict_counts_parts_in_plain_words():
    content = report()
    sentences = " ".join(verdict_sentences(only(content).metrics))
    caught = int((only(content).scores[:40] >= 0.5).sum())
    assert f"Of 40 defective parts, {caught} were caught" in sentences
    assert re.search(r"Of 60 good parts, (none|\d+) were rejected|, 1 was rejected", sentences)
    assert "30 parts with damage only outside the region" in sentences


def test_the_verdict_leaves_out_what_was_not_there():
    with pytest.warns(RuntimeWarning):
        content = report(defective=0, outside=0)
    assert verdict_sentences(only(content).metrics) == [f"Of 60 good parts, {rejected(content)} rejected."]


def rejected(content):
    count = int((only(content).scores >= 0.5).sum())
    return {0: "none were", 1: "1 was"}.get(count, f"{count} were")


def test_the_page_stands_alone(tmp_path):
    write_report(tmp_path / "deep" / "report.html", full_report())
    page = (tmp_path / "deep" / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert not re.search(r"https?://|@import|url\(", page)
    assert len(re.findall(r'src="data:image/jpeg;base64,', page)) == 4 + 3
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["report.html"]


def test_everything_given_is_shown():
    page = render(full_report())
    for text in ("99.5 % quantile", "model.base_width", "3f3f", "41 ms", "rightly rejected", "scratch"):
        assert text in page
    worst = full_report()
    scores = only(worst).scores
    lowest = int(np.argmin(scores[:40]))
    assert (worst.paths[lowest] in page) == (scores[lowest] < 0.5)


def test_the_threshold_is_warned_of():
    warning = "23 held-out good parts cannot support a rate of 0.50%"
    assert warning in pages_text(render(report(threshold_warning=warning)))
    assert '<p class="warning">' not in render(report())


def test_what_is_likely_is_shown_and_how_it_was_found():
    content = report()
    text = pages_text(render(content))
    bounds = only(content).metrics.intervals.bounds
    for name in ("recall", "good_reject_rate", "outside_alarm_rate", "good_alarm_rate_at_recall95"):
        low, high = bounds[name]
        assert f"{100 * low:.1f}–{100 * high:.1f} %" in text
    assert text.count("{:.3f}–{:.3f}".format(*bounds["image_auroc"])) == 2
    assert "95% confidence intervals, from 130 parts" in text


@pytest.mark.filterwarnings("ignore:too few:RuntimeWarning")
def test_what_is_not_known_is_said():
    content = dataclasses.replace(report(defective=3, good=3, outside=1), remarks=["too few parts"])
    text = pages_text(render(content))
    assert "likely" not in text.lower() and "Note: too few parts." in text


def test_curves_are_shown_where_there_are_some():
    rate = np.linspace(0, 1, 5000)
    assert "PRO curve" in render(report(pro_curve=(rate, np.sqrt(rate))))
    page = render(report())
    assert "ROC curve" in page and "PRO curve" not in page


def tables(page):
    """Title of each table of categories or groups to its rows, as text."""
    found = re.findall(r"<h2>(By \w+)</h2>(.*?)</section>", page, flags=re.S)
    return {
        title: [pages_text(row) for row in re.findall("<tr><th>.*?</tr>", body, flags=re.S)]
        for title, body in found
    }


@pytest.mark.filterwarnings("ignore:too few:RuntimeWarning")
@pytest.mark.parametrize("models", [("grdnet",), TWO])
def test_mistakes_by_category_and_by_group(models):
    content = report(models=models, groups=["left", "right"] * 65)
    shown = tables(render(content))
    assert [row.split()[0] for row in shown["By category"]] == ["good", "scratch", "stain"]
    assert [row.split()[0] for row in shown["By group"]] == ["left", "right"]
    for row, place in zip(shown["By group"], (0, 1), strict=True):
        for model in content.models:
            group = model.metrics.groups[place]
            good = group.parts - group.defective_parts
            assert f"{group.escapes} of {group.defective_parts} {group.false_rejects} of {good}" in row
    assert "By group" not in tables(render(report(models=models)))


def test_of_many_groups_those_with_mistakes_are_shown():
    content = report(groups=[f"part {row}" for row in range(130)])
    shown = tables(render(content))["By group"]
    wrong = [group.name for group in only(content).metrics.groups if group.escapes or group.false_rejects]
    assert len(shown) == BROKEN_DOWN and 0 < len(wrong) < BROKEN_DOWN
    assert {" ".join(row.split()[:2]) for row in shown[: len(wrong)]} == set(wrong)
    assert f"{130 - BROKEN_DOWN} more" in render(content)


def test_the_worst_that_are_shown_are_linked():
    content = report()
    worst = content.paths[int(np.argmin(only(content).scores[:40]))]
    page = render(dataclasses.replace(content, examples=[part(1), part(2, caption=worst, verdict="escape")]))
    assert f'<a href="#part-2">{worst}</a>' in page and '<article class="example" id="part-2">' in page


def test_names_from_the_data_cannot_inject_markup():
    hostile = '</script><img src=x onerror="alert(1)">'
    content = report(
        models=(hostile, "other"),
        examples=[part(1, caption=hostile, models=2)],
        training_curves={hostile: [(0, 1.0), (1, 2.0)], f"train/{hostile}": [(0, 1.0)]},
        settings={hostile: hostile},
        threshold_warning=hostile,
        paths=[hostile] * 130,
        groups=[hostile, ""] * 65,
    )
    assert hostile not in render(dataclasses.replace(content, title=hostile, remarks=[hostile]))


@pytest.mark.parametrize("counts", [(0, 5, 0), (5, 0, 0), (1, 1, 0), (0, 0, 0), (3, 0, 2)])
@pytest.mark.filterwarnings("ignore:.*undefined:RuntimeWarning", "ignore:too few:RuntimeWarning")
def test_a_class_may_be_missing(counts):
    page = render(report(0, *counts))
    assert "nan" not in re.sub(r"<style.*</style>", "", page, flags=re.S).lower()


def test_equal_scores_still_draw():
    content = report()
    flat = dataclasses.replace(only(content), scores=np.full(130, 0.5))
    assert 'class="threshold"' in render(dataclasses.replace(content, models=[flat]))


def test_metrics_without_a_threshold_are_refused():
    with pytest.raises(ValueError, match="threshold"):
        render(report(threshold=None))


def test_score_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="length"):
        render(report(paths=["one"]))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "report.html"
    with pytest.raises(UserError, match=re.escape(str(target))):
        write_report(target, report())


def test_a_report_of_no_model_or_of_three_is_refused():
    content = report()
    for count in (0, 3):
        with pytest.raises(ValueError, match="one model or two"):
            render(dataclasses.replace(content, models=list(content.models) * count))


# -- the confusion matrix ------------------------------------------------------------------------------------


def cells(page):
    """(kind, side, is right) to the text of each cell of the confusion matrix, model after model."""
    found = re.findall(
        r'<td class="(right|wrong)" data-kind="(\w+)" data-side="(\w+)" style="--share: ([\d.]+)">(.*?)</td>',
        page,
    )
    return [
        ((kind, side, css == "right"), float(share), pages_text(text))
        for css, kind, side, share, text in found
    ]


def test_the_confusion_matrix_counts_every_part_once():
    content = report()
    metrics = only(content).metrics
    rows = {
        row.kind: row for row in confusion({"good": np.array([0.1, 0.5]), "defective": np.array([0.5])}, 0.5)
    }
    assert (rows["good"].passed, rows["good"].rejected, rows["good"].passing_is_right) == (1, 1, True)
    assert (rows["defective"].passed, rows["defective"].rejected) == (0, 1)
    assert not rows["defective"].passing_is_right
    shown = {place: (share, text) for place, share, text in cells(render(content))}
    expected = {
        ("good", "passed", True): metrics.good_parts - metrics.good_rejects,
        ("good", "rejected", False): metrics.good_rejects,
        ("outside", "passed", True): metrics.outside_only_parts - metrics.outside_alarms,
        ("outside", "rejected", False): metrics.outside_alarms,
        ("defective", "passed", False): metrics.escapes,
        ("defective", "rejected", True): metrics.caught,
    }
    totals = {"good": 60, "outside": 30, "defective": 40}
    assert set(shown) == set(expected)
    for place, count in expected.items():
        share, text = shown[place]
        assert share == pytest.approx(count / totals[place[0]], abs=1e-4)
        assert text.split()[0] == str(count)
        assert float(text.split()[1]) == pytest.approx(100 * share, abs=0.06)


def test_a_kind_without_parts_has_no_row():
    assert {place[0] for place, *_ in cells(render(report(outside=0)))} == {"good", "defective"}


# -- training curves -----------------------------------------------------------------------------------------


def test_curves_of_one_measure_share_a_plot():
    plots = training_plots(
        {"train/a": [(1, 1.0)], "held-out/a": [(1, 2.0)], "held-out/b": [(1, 3.0)], "c": []}
    )
    assert plots == {"a": [[(1, 1.0)], [(1, 2.0)]], "b": [[], [(1, 3.0)]], "c": [[]]}
    both = charts.training_svg("a", plots["a"])
    assert both.count("<polyline") == 2 and 'class="line first"' in both and 'class="line second"' in both
    # A stage keeps its colour where the other is missing.
    assert 'class="line second"' in charts.training_svg("b", plots["b"])
    assert charts.training_svg("c", plots["c"]) == ""


def test_stages_are_explained_where_there_are_some():
    assert "photographs held back" in pages_text(render(full_report())).split("Training", 1)[1]
    page = pages_text(render(report(training_curves={"loss": [(1, 2.0), (2, 1.0)]})))
    assert "held-out" not in page.split("Training", 1)[1]


# -- two models ----------------------------------------------------------------------------------------------


def test_two_models_stand_side_by_side():
    content = full_report(TWO)
    page = render(content)
    text = pages_text(page)
    for model in content.models:
        assert " ".join(verdict_sentences(model.metrics)) in text
        assert f"{model.metrics.image_auroc:.3f}" in text
    # In the ROC curves and in each model's plot of the loss.
    assert page.count('class="line second"') == 3
    assert len(cells(page)) == 12
    assert len(re.findall(r'src="data:image/jpeg;base64,', page)) == (4 + 1) + 4
    for name in TWO:
        assert re.search(rf"found by {name}, \d+ % of the heat inside", text)
    assert "as repaired by CE only" in text and "as repaired by CEOD" not in text


def test_an_empty_heatmap_is_called_that():
    example = part(1, models=2)
    cold = dataclasses.replace(example.predictions[1], anomaly_map=np.zeros((4, 6)))
    content = report(
        models=TWO, examples=[dataclasses.replace(example, predictions=[example.predictions[0], cold])]
    )
    assert "found by CEOD, no heat" in pages_text(render(content))


def test_one_model_is_not_named_throughout():
    page = render(full_report(["a name of its own"]))
    assert "a name of its own" not in page and "found by" not in page


def test_the_better_value_is_marked():
    first, second = (model.metrics for model in report(models=TWO).models)
    better = dataclasses.replace(
        first, image_auroc=0.9, good_alarm_rate_at_recall95=0.1, pixel_ap=0.5, roi_mass=float("nan")
    )
    worse = dataclasses.replace(second, image_auroc=0.8, good_alarm_rate_at_recall95=0.3, pixel_ap=0.5)
    best = {row.name: row.best for row in measure_rows([better, worse])}
    assert best["Image AUROC"] == best["Alarms on good parts"] == (True, False)
    assert best["Pixel average precision"] == (False, False)
    assert best["Heat inside the region"] == (False, True)
    assert not any(any(row.best) for row in measure_rows([better]))


def test_heat_is_shared_between_inside_and_outside():
    heat, roi = np.zeros((2, 8, 8))
    roi[:, :4] = 1
    assert np.isnan(heat_inside(heat, roi))
    heat[2, 1], heat[5, 6] = 3, 1
    assert heat_inside(heat, roi) == pytest.approx(0.75)
    assert heat_inside(heat, np.kron(roi, np.ones((3, 3)))) == pytest.approx(0.75)
    assert heat_inside(heat, None) == 1


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_the_sliders_start_at_the_thresholds_in_use(tmp_path):
    content = full_report(TWO)
    write_report(tmp_path / "report.html", content)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{tmp_path / 'report.html'}"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert page.count("<output>0.5000</output>") == 2
    assert len(re.findall(r'class="slider"(?! hidden)', page)) == 2
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    # The script, which counts anew, comes to the numbers that were written.
    shown = [(re.search(r'data-kind="\w+" data-side="\w+"', cell)[0], pages_text(cell)) for cell in tds(page)]
    assert shown == [
        (re.search(r'data-kind="\w+" data-side="\w+"', cell)[0], pages_text(cell)) for cell in tds(written)
    ]
    assert len(shown) == 12


def tds(page):
    return re.findall(r"<td class=\"(?:right|wrong)\".*?</td>", page)


def test_the_report_says_when_of_what_and_by_whom():
    content = dataclasses.replace(full_report(), date="2026-11-28 05:30", product="M5 <nuts>")
    page = render(content)
    assert "Date 2026-11-28 05:30 Product M5 &lt;nuts&gt; Operator Signature" in pages_text(page)
    assert signed(page) == page
    named = pages_text(signed(page, product="Nut & bolt", operator="Kim"))
    assert "Product Nut &amp; bolt Operator Kim Signature" in named
    assert signed("<html>of an older version", operator="Kim") == "<html>of an older version"


def test_the_report_prints_without_breaking_what_belongs_together():
    style = render(full_report()).partition("@media print")[2].partition("</style>")[0]
    assert "break-inside: avoid" in style and "print-color-adjust: exact" in style
    assert "break-inside: avoid; } .slider" not in style, "a long section breaks between its parts"
