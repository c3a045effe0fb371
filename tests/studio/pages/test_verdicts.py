"""The run page in words: OK or NG, figures, the trend and the table."""

from __future__ import annotations

import base64
import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio")

from roinspect.inspection.inspector import Verdict
from roinspect.studio.pages.run import large, sorted_out, summary
from roinspect.studio.pages.verdicts import TREND, Row, caption, light, trend, verdicts_csv
from roinspect.studio.state.project import Project
from roinspect.studio.state.recipes import Recipe, keep, recipe, title


def row(verdict: str | None, score: float = 0.5, name: str = "a.png", reason: str = "") -> Row:
    return Row(1e9, name, verdict, score, 1.0, "m-1", reason)


def test_what_is_no_photograph_is_not_counted() -> None:
    dropped = ["/x/a.PNG", "/x/notes.txt", "/x/b.jpg", "/x/plan.pdf"]
    photographs, others = sorted_out(dropped)
    assert [path.name for path in photographs] == ["a.PNG", "b.jpg"]
    assert [path.name for path in others] == ["notes.txt", "plan.pdf"]
    assert sorted_out(None) == ([], [])


def test_an_unreadable_photograph_is_not_inspected() -> None:
    words = summary([row("good"), row("defective", 2.0), row(None, reason="cut off")], 3)
    assert "2 of 3 photographs inspected" in words and "<b>1</b>could not be read" in words
    assert "<b>1</b>OK" in words and "<b>1</b>NG" in words
    assert "could not be read" not in summary([row("good")], 1)


def test_the_summary_has_the_table_once_all_are_inspected() -> None:
    rows = [row("good"), row("not inspectable", 0.7, '=b"<.png', "too dark")]
    assert "base64" not in summary(rows, 3)
    found = re.search(r'base64,([^"]+)" download', summary(rows, 2))
    assert found is not None
    first, second = csv.DictReader(io.StringIO(base64.b64decode(found[1]).decode()))
    assert first["model"] == "m-1" and float(first["score"]) == 0.5 and first["time"].startswith("2001-09-0")
    assert second["photograph"] == '=b"<.png' and second["reason"] == "too dark"


def test_each_row_says_when_and_with_what_model() -> None:
    words = caption(row("defective", 2.0))
    assert "NG" in words and "2001-09-0" in words and "m-1" in words and " 2" in words
    assert "nan" not in caption(row(None, float("nan"), reason="cut off"))


@pytest.mark.parametrize(
    ("verdict", "word"),
    [("good", "OK"), ("defective", "NG"), ("not inspectable", "Not inspectable"), (None, "No verdict")],
)
def test_the_verdict_stands_there_in_large(verdict: str | None, word: str) -> None:
    shown = light(verdict, "<b>.png")
    assert word in shown and "&lt;b&gt;.png" in shown and "<b>.png" not in shown


def test_a_photograph_that_cannot_be_read_says_why() -> None:
    words = large(Verdict("x/a.png", float("nan"), None, 1.0, 0.0, error="a.png: cut off"), "m-1", "1 of 2")
    assert "No verdict" in words and "cut off" in words
    image, heat = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32)
    words = large(Verdict("x/a.png", 2.0, "defective", 1.0, 0.0, image, heat, 1.0), "m-1", "1 of 2")
    assert "✕ NG" in words and "model m-1" in words and 'aria-label="Enlarge: the photograph"' in words


def test_the_trend_shows_the_latest_scores_and_the_limit() -> None:
    assert trend([row("good"), row(None)]) == ""
    many = trend([row("good", 0.1 * n) for n in range(3 * TREND)])
    assert many.count("<circle") == TREND
    heights = [
        float(y) for y in re.findall(r'cy="([\d.]+)"', trend([row("good", 0.5), row("defective", 2.0)]))
    ]
    limit = re.search(r'y1="([\d.]+)"', trend([row("good", 0.5), row("defective", 2.0)]))
    assert limit is not None and heights[0] > float(limit[1]) > heights[1], "higher scores are higher up"
    assert "nan" not in trend([row("good", 1.0), row("good", 1.0)])


def test_a_table_without_rows_has_its_head() -> None:
    assert verdicts_csv([]).strip() == "time,photograph,verdict,score,threshold,model,reason"


def test_a_model_remembers_its_product_and_camera(project: Project, tmp_path: Path) -> None:
    assert recipe(project, "m-1") == recipe(project, None) == Recipe() and title(project, "m-1") == "m-1"
    keep(project, "m-1", product=" Nut M5 ", operator="Kim")
    keep(project, "m-2", camera=str(tmp_path))
    assert recipe(project, "m-1") == Recipe("Nut M5", "Kim") and title(project, "m-1") == "Nut M5 (m-1)"
    assert recipe(project, "m-2") == Recipe(camera=str(tmp_path))
    (project.state / "recipes.json").write_text('{"m-1": {"product": 7, "new": "x", "operator": "Kim"}}')
    assert recipe(project, "m-1") == Recipe(operator="Kim")
    (project.state / "recipes.json").write_text("[]")
    assert keep(project, "m-1", product="A") == recipe(project, "m-1") == Recipe("A")
