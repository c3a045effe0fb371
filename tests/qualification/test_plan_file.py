"""A plan is read strictly: what is unknown or missing is refused, and the message says where."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from roinspect.errors import UserError
from roinspect.qualification.plan import HIGHEST
from roinspect.qualification.plan_file import ReadPlan, read_plan

TODAY = datetime.date(2026, 11, 28)
PLAN = """\
title: Vials
intended_use: Rejects vials with scratches.
written_by: A. Example
written_on: 2026-11-20
bundle: model
tests:
  - data: challenge
limits:
  detection_rate: 0.9
"""


def read(tmp_path: Path, text: str) -> ReadPlan:
    path = tmp_path / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return read_plan(path, TODAY)


def test_a_plan_is_read_with_its_digest_and_paths_beside_it(tmp_path: Path) -> None:
    found = read(tmp_path, PLAN)
    assert found.plan.limits.detection_rate == 0.9
    assert found.plan.written_on == "2026-11-20"
    assert found.plan.tests[0].split == "test"
    assert found.plan.repeatability is not None and found.plan.robustness is not None
    assert found.at(found.plan.bundle) == tmp_path / "model"
    assert found.text == PLAN
    assert len(found.digest) == 64


def test_null_omits_a_section(tmp_path: Path) -> None:
    plan = read(tmp_path, PLAN + "repeatability: null\nrobustness: null\n").plan
    assert plan.repeatability is None and plan.robustness is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "  detection_rate: 0.9",
            "  detection_rat: 0.9",
            "limits.detection_rat: no such key, did you mean det",
        ),
        ("title:", "titel:", "titel: no such key, did you mean title"),
        ("  - data: challenge", "  - date: challenge", "tests.date: no such key, did you mean data"),
        ("  detection_rate: 0.9", "  {}", "sets no limit, and a plan without acceptance limits is no plan"),
        ("  detection_rate: 0.9", "  robust_to: {}", "sets no limit"),
        ("limits:\n  detection_rate: 0.9\n", "", "limits is missing"),
        ("  - data: challenge", "  []", "names no test set"),
        ("written_by: A. Example", "written_by: ' '", "written_by: is empty"),
        ("title: Vials", "title: 3", "title must be text, not 3"),
        ("0.9", "1.0", "limits.detection_rate: must be above 0 and below 1, not 1.0"),
        ("0.9", "yes", "limits.detection_rate must be a finite number, not true"),
        ("0.9", ".nan", "must be a finite number"),
        ("2026-11-20", "2026-12-01", "2026-12-01 is after today, 2026-11-28"),
        ("2026-11-20", "yesterday", "'yesterday' is no date"),
        ("bundle: model", "bundle: model\nruntime: tvm", "runtime: no such runtime: tvm"),
        ("0.9", "0.9\n  knapp: true", "limits.knapp: needs looks"),
        ("0.9", "0.9\n  knapp: false", "limits.knapp must be one of True"),
        ("0.9", "0.9\n  kappa: 0.7", "limits.kappa: needs looks"),
        (
            "0.9",
            "0.9\n  equal_verdicts: true\nrepeatability: null",
            "limits.equal_verdicts: needs repeatability",
        ),
        ("0.9", "0.9\n  robust_to: {blur: 1}\nrobustness: null", "limits.robust_to: needs robustness"),
        ("0.9", "0.9\n  robust_to: {blur: 0.7}", "0.7 is not one of the strengths that are tested"),
        ("0.9", "0.9\nrobustness: {strengths: {blr: [1]}}", "robustness.strengths.blr: no such key, did you"),
        ("0.9", "0.9\nrobustness: {strengths: {blur: [2, 1]}}", "robustness.strengths.blur: must grow"),
        ("0.9", "0.9\nrobustness: {strengths: {jpeg: [100]}}", "at most 99"),
        ("0.9", "0.9\nrepeatability: {repetitions: 1}", "repeatability.repetitions: must be at least 2"),
        ("0.9", "0.9\nrepeatability: {threads: [0]}", "repeatability.threads: must be at least 1"),
        ("0.9", "0.9\ntitle: Again", "line 10: is not valid YAML (title stands twice)"),
        ("0.9", "0.9\n1: x", "1 is no key"),
        ("  detection_rate: 0.9", "  [", "is not valid YAML"),
        (PLAN, "just text", "holds no plan"),
        (PLAN, "a: &a [*a]", "is not valid YAML"),
        ("title: Vials", "title: !!python/object:os.system x", "is not valid YAML"),
    ],
)
def test_bad_plans_are_refused_in_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in PLAN
    with pytest.raises(UserError) as error:
        read(tmp_path, PLAN.replace(old, new))
    assert words in str(error.value)
    assert str(tmp_path / "plan.yaml") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plan_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml")
    (tmp_path / "plan.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        read_plan(tmp_path / "plan.yaml")


def test_every_disturbance_has_a_highest_strength() -> None:
    from roinspect.qualification.disturbances import KINDS

    assert HIGHEST.keys() == KINDS.keys()
