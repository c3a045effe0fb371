"""The report says what happened in plain words, stands alone, and is written whole or not at all."""

import dataclasses
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest

from roinspect.errors import UserError
from roinspect.evaluation import charts
from roinspect.evaluation.metrics import RoiMetrics
from roinspect.evaluation.report import Example, ReportContent, render, verdict_sentences, write_report


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


def part(seed, caption="teeth/007.png", verdict="rightly rejected", reconstruction=True):
    image, roi, truth, heat = picture(seed)
    repaired = cv2.medianBlur(image, 9) if reconstruction else None
    return Example(caption, image, roi, truth, heat, repaired, 0.93, verdict)


def report(seed=0, defective=40, good=60, outside=30, threshold=0.5, **more):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.beta(8, 3, defective), rng.beta(2, 9, good), rng.beta(2, 6, outside)]).round(
        4
    )
    label = np.repeat([1, 0, 0], [defective, good, outside])
    outside_only = np.repeat([False, False, True], [defective, good, outside])
    count = len(scores)
    truth, roi = np.zeros((count, 8, 8), np.uint8), np.ones((count, 8, 8), np.uint8)
    truth[:defective, 2:4, 2:4] = 1
    maps = rng.random(truth.shape, np.float32) + truth
    metrics = RoiMetrics()
    names = ["scratch"] * defective + ["good"] * good + ["stain"] * outside
    metrics.update(scores, maps, label, outside_only, truth, roi, names)
    paths = [f"test/{name}/{index:03d}.png" for index, name in enumerate(names)]
    content = ReportContent(
        title="Zipper, compact GRD-Net",
        metrics=metrics.compute(threshold),
        threshold_origin="It is the 99.5 % quantile of 120 held-out good parts.",
        scores=scores,
        labels=label,
        outside_only=outside_only,
        paths=paths,
    )
    return dataclasses.replace(content, **more)


def full_report(**more):
    return report(
        examples=[part(1), part(2, reconstruction=False)],
        map_threshold=0.5,
        training_curves={
            "loss": [(e, 1 / (e + 1)) for e in range(12)],
            "dice": [(0, 0.1), (1, float("nan"))],
        },
        settings={"method": "grdnet", "model": {"base_width": 16, "roi": "target"}},
        fingerprints={"data": "sha256:" + "3f" * 32},
        timings={"training": "3 min 12 s", "one image": "41 ms"},
        **more,
    )


def test_the_verdict_counts_parts_in_plain_words():
    content = report()
    sentences = " ".join(verdict_sentences(content.metrics))
    caught = int((content.scores[:40] >= 0.5).sum())
    assert f"Of 40 defective parts, {caught} were caught" in sentences
    assert re.search(r"Of 60 good parts, (none|\d+) were rejected|, 1 was rejected", sentences)
    assert "30 parts with damage only outside the region" in sentences


def test_the_verdict_leaves_out_what_was_not_there():
    with pytest.warns(RuntimeWarning):
        content = report(defective=0, outside=0)
    assert verdict_sentences(content.metrics) == [f"Of 60 good parts, {rejected(content)} rejected."]


def rejected(content):
    count = int((content.scores >= 0.5).sum())
    return {0: "none were", 1: "1 was"}.get(count, f"{count} were")


def test_the_page_stands_alone(tmp_path):
    write_report(tmp_path / "deep" / "report.html", full_report())
    page = (tmp_path / "deep" / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert not re.search(r"https?://|@import|url\(", page)
    assert len(re.findall(r'src="data:image/jpeg;base64,', page)) == 4 + 3
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["report.html"]


def test_everything_given_is_shown():
    page = render(full_report())
    for text in ("99.5 % quantile", "model.base_width", "3f3f", "41 ms", "rightly rejected", "scratch"):
        assert text in page
    worst = full_report()
    lowest = int(np.argmin(worst.scores[:40]))
    assert (worst.paths[lowest] in page) == (worst.scores[lowest] < 0.5)


def test_names_from_the_data_cannot_inject_markup():
    hostile = '</script><img src=x onerror="alert(1)">'
    content = dataclasses.replace(
        full_report(title=hostile),
        settings={hostile: hostile},
        examples=[part(1, caption=hostile)],
        training_curves={hostile: [(0, 1.0), (1, 2.0)]},
    )
    assert hostile not in render(content)


@pytest.mark.parametrize("counts", [(0, 5, 0), (5, 0, 0), (1, 1, 0), (0, 0, 0), (3, 0, 2)])
@pytest.mark.filterwarnings("ignore:.*undefined:RuntimeWarning")
def test_a_class_may_be_missing(counts):
    page = render(report(0, *counts))
    assert "nan" not in re.sub(r"<style.*</style>", "", page, flags=re.S).lower()


def test_equal_scores_still_draw():
    content = report()
    assert "threshold-line" in render(dataclasses.replace(content, scores=np.full(130, 0.5)))


def test_charts_are_well_formed_and_stay_inside_their_frame():
    scores = np.array([0.1, 0.2, 0.9, -3.0])
    low, high = charts.score_range(scores, 0.5)
    drawings = [
        charts.histogram_svg([("good", "a < b & c", scores)], low, high, 0.5),
        charts.roc_svg(scores, np.array([0, 1, 1, 0]), 0.5),
        charts.training_svg("loss", [(0, 3.0), (1, 2.0), (2, float("inf"))]),
    ]
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for node in root.iter():
            for name, limit in (("x", width), ("x1", width), ("y", height), ("y2", height), ("cx", width)):
                assert 0 <= float(node.attrib.get(name, 0)) <= limit


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


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_the_slider_starts_at_the_threshold_in_use(tmp_path):
    content = full_report()
    write_report(tmp_path / "report.html", content)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{tmp_path / 'report.html'}"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert '<output id="tried">0.5000</output>' in page
    assert re.search(r'id="slider"(?! hidden)', page)
    assert f'id="defective-pass">{content.metrics.escapes}<' in page
    assert f'id="outside-alarm">{content.metrics.outside_alarms}<' in page
