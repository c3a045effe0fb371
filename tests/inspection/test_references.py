"""A line that no longer sees what the model was accepted with says so, and by default does not start."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from roinspect import Inspector, UserError
from roinspect.inspection.bundle import Bundle, Threshold
from roinspect.inspection.inspector import Verdict
from roinspect.inspection.prediction import Prediction
from roinspect.inspection.references import Reference, SelfTest, compared, packed, unpacked
from roinspect.inspection.tolerance import REDUCED_TOLERANCE, SCORE_TOLERANCE

SIZE = (8, 12)


def png(value: int) -> bytes:
    return cv2.imencode(".png", np.full((*SIZE, 3), value, np.uint8))[1].tobytes()


def times(factor: float) -> Callable[[np.ndarray], Prediction]:
    """A model whose score is the brightness, times a factor that a faulty driver might have."""

    def predict(images: np.ndarray) -> Prediction:
        maps = np.float32(factor) * images.mean(axis=3, dtype=np.float32) / np.float32(255)
        count = len(maps)
        return Prediction(
            maps.max((1, 2)), maps, np.ones((count, 1, 1), np.float32), np.zeros(count, np.float32)
        )

    return predict


REFERENCES = (Reference("0-good.png", 0, 51 / 255), Reference("1-defective.png", 1, 204 / 255))
FILES = [png(51), png(204)]


def inspector(factor: float = 1.0, threshold: float = 0.5, **changes: Any) -> Inspector:
    manifest = Bundle("test", {}, SIZE, Threshold(threshold, "chosen"), references=REFERENCES)
    return Inspector(manifest, times(factor), "openvino", photographs=FILES, **changes)


def test_the_same_network_passes() -> None:
    result = inspector().self_test()
    assert result.is_passed and [one.verdict for one in result.tested] == ["good", "defective"]
    assert "2 reference photographs score as" in str(result)
    assert json.loads(json.dumps(result.to_dict()))["passed"] is True
    assert inspector().tested("model") == result


@pytest.mark.parametrize(
    ("factor", "passes"),
    [
        (1 + 0.5 * SCORE_TOLERANCE, True),
        (1 - 0.5 * SCORE_TOLERANCE, True),
        (1 + 2 * SCORE_TOLERANCE, False),
        (0.0, False),
        (1 / 3, False),
        (np.inf, False),
        (np.nan, False),
    ],
)
def test_scores_must_agree_within_the_gate_of_an_export(factor: float, passes: bool) -> None:
    with np.errstate(invalid="ignore"):
        result = inspector(factor).self_test()
    assert result.is_passed == passes
    if not passes:
        with pytest.raises(UserError, match=r"self-test failed: . of 2 reference photographs"):
            result.require("model")


def test_a_failure_stops_warns_or_is_not_looked_for(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=r"model: the self-test failed.*0-good\.png scores 0\.1") as refused:
        inspector(0.5).tested("model", "stop")
    assert "--self-test warn" in str(refused.value)
    with caplog.at_level(logging.WARNING, "roinspect"):
        inspector(0.5).tested("model", "warn")
    assert "the self-test failed" in caplog.text


def test_a_reference_that_cannot_be_read_fails() -> None:
    manifest = Bundle("test", {}, SIZE, Threshold(0.5, "chosen"), references=REFERENCES)
    result = Inspector(manifest, times(1), photographs=[FILES[0], FILES[1][:40]]).self_test()
    assert [one.is_equal for one in result.tested] == [True, False] and result.tested[1].error
    assert result.tested[1].error in str(result) and result.to_dict()["photographs"][1]["error"]


def test_reduced_precision_is_held_to_its_own_scores_where_it_was_made() -> None:
    """INT8 answers a little otherwise than the trained graph, and there alike on every line."""
    at_export = {reference.name: 1.05 * reference.pred_score for reference in REFERENCES}
    for factor, passes in (
        (1.05, True),
        (1.05 * (1 + 0.9 * REDUCED_TOLERANCE), True),
        (1.05 * (1 + 1.5 * REDUCED_TOLERANCE), False),
        (1.0, True),  # where bfloat16 is missing, the same file runs in float32
        (0.9, False),
    ):
        assert inspector(factor, at_export=at_export).self_test().is_passed == passes, factor
    # Made before there were references: the trained graph's scores count.
    assert inspector(1.001, at_export={}).self_test().is_passed
    assert not inspector(1.05, at_export={}).self_test().is_passed


def test_a_new_threshold_has_new_verdicts_and_needs_no_new_references() -> None:
    result = inspector(threshold=0.1).self_test()
    assert result.is_passed and [one.expected_verdict for one in result.tested] == ["defective", "defective"]
    # Where the new threshold meets a reference's score, rounding decides.
    assert inspector(1 - 0.2 * SCORE_TOLERANCE, threshold=204 / 255).self_test().is_passed


def test_what_was_not_inspectable_must_stay_so() -> None:
    verdict = inspector().inspect(FILES[0])
    unlike = dataclasses.replace(REFERENCES[0], reason="out of focus")
    assert not compared([unlike], [verdict], 0.5, runtime="torch").is_passed
    unseen = Verdict("", verdict.pred_score, "not inspectable", 0.5, 1.0, reason="out of focus")
    assert compared([unlike], [unseen], 0.5, runtime="torch").is_passed
    assert not compared(REFERENCES[:1], [unseen], 0.5, runtime="torch").is_passed


def test_nothing_tested_is_not_passed(caplog: pytest.LogCaptureFixture) -> None:
    bare = Inspector(Bundle("test", {}, SIZE, Threshold(0.5, "chosen")), times(1))
    assert not bare.self_test().is_passed and "nothing was tested" in str(bare.self_test())
    # A bundle of an earlier training may be used, and that is said.
    with caplog.at_level(logging.INFO, "roinspect"):
        bare.tested("model")
    assert "no reference photographs" in caplog.text
    SelfTest("torch", ()).require("model")


def test_the_archive_is_the_same_every_time_and_holds_what_the_manifest_names() -> None:
    named = dict(zip((reference.name for reference in REFERENCES), FILES, strict=True))
    content = packed(named)
    assert packed(named) == content and unpacked(content, REFERENCES) == FILES
    assert unpacked(content, REFERENCES[::-1]) == FILES[::-1]
    for wrong in (REFERENCES[:1], (*REFERENCES, Reference("2.png", 0, 1.0))):
        with pytest.raises(ValueError, match="other photographs"):
            unpacked(content, wrong)
    for damaged in (b"", content[:100], b"PK" + bytes(100), content[:-30]):
        with pytest.raises(ValueError, match="no archive"):
            unpacked(damaged, REFERENCES)


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    """Training writes none, and one could unpack to more than the memory holds."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for reference in REFERENCES:
            archive.writestr(reference.name, bytes(10**6))
    with pytest.raises(ValueError, match="is compressed"):
        unpacked((tmp_path / "bomb.zip").read_bytes(), REFERENCES)
