"""Two graphs are the same where scores, maps and verdicts are; and no difference hides."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from roinspect.exports.parity import MAP_TOLERANCE, SCORE_TOLERANCE, Parity, compare
from roinspect.inspection.prediction import Prediction
from roinspect.inspection.scene import Scene, limits_of


def brightness(images: NDArray[np.uint8]) -> Prediction:
    return answered(images.mean(axis=3, dtype=np.float32) / np.float32(255))


def answered(maps: NDArray[np.float32]) -> Prediction:
    count = len(maps)
    whole = np.ones((count, 1, 1), np.float32), np.zeros(count, np.float32)
    return Prediction(maps.max(axis=(1, 2)), maps, *whole)


def scaled(answer: Prediction, factor: np.float32) -> Prediction:
    return answer._replace(pred_score=answer.pred_score * factor)


def images(count: int = 9) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return (rng.integers(0, 100 + 10 * number, (8, 6, 3)).astype(np.uint8) for number in range(count))


def compared(change: Callable[[Prediction], Prediction], threshold: float = 0.5, count: int = 9) -> Parity:
    return compare(brightness, lambda batch: change(brightness(batch)), images(count), threshold)


def test_the_same_graph_is_equal() -> None:
    found = compared(lambda answer: answer)
    assert (
        found == Parity(images=9, score=0, mean_score=0, map=0, scene=0, changed=0, close=0)
        and found.is_equal
    )


@pytest.mark.parametrize(("share", "is_equal"), [(0.5, True), (2.0, False)])
def test_scores_may_differ_by_the_tolerance(share: float, is_equal: bool) -> None:
    found = compared(lambda answer: scaled(answer, np.float32(1 + share * SCORE_TOLERANCE)))
    assert found.is_equal == is_equal and found.score == pytest.approx(share * SCORE_TOLERANCE, rel=0.01)


@pytest.mark.parametrize(("share", "is_equal"), [(0.5, True), (2.0, False)])
def test_one_pixel_of_one_map_is_enough(share: float, is_equal: bool) -> None:
    def spotted(answer: Prediction) -> Prediction:
        maps = answer[1].copy()
        maps[-1, 3, 4] += np.float32(share * MAP_TOLERANCE) * maps[-1].max()
        return answer._replace(anomaly_map=maps)

    assert compared(spotted).is_equal == is_equal


def test_a_verdict_may_not_change_and_a_score_at_the_threshold_is_none() -> None:
    scores = [float(brightness(image[None])[0][0]) for image in images()]
    raised = [(score * 1.01 >= 0.4) != (score >= 0.4) for score in scores]
    more = compared(lambda answer: scaled(answer, np.float32(1.01)), threshold=0.4)
    assert more.changed == sum(raised)

    at_the_score = float(np.nextafter(np.float32(scores[4]), np.float32(1)))
    found = compared(lambda answer: scaled(answer, np.float32(1 + 1e-6)), threshold=at_the_score)
    assert (found.changed, found.close, found.is_equal) == (0, 1, True)
    lower = compared(lambda answer: scaled(answer, np.float32(0.9)), threshold=scores[4] * 0.95)
    assert lower.changed >= 1 and not lower.is_equal


def test_no_number_is_no_answer() -> None:
    def broken(answer: Prediction) -> Prediction:
        scores = np.where(np.arange(len(answer[0])) == 1, np.float32(np.nan), answer.pred_score)
        return answer._replace(pred_score=scores)

    assert not compared(broken).is_equal
    assert not compared(lambda answer: answer._replace(anomaly_map=answer[1] * np.float32(np.inf))).is_equal


def test_images_of_a_batch_that_are_mixed_up_are_found_out() -> None:
    assert not compared(lambda answer: Prediction(*(values[::-1] for values in answer))).is_equal


def test_a_score_next_to_nothing_is_measured_by_the_threshold() -> None:
    found = compare(
        lambda batch: answered(np.zeros((len(batch), 2, 2), np.float32)),
        lambda batch: answered(np.full((len(batch), 2, 2), 1e-8, np.float32)),
        images(),
        0.5,
    )
    assert found.is_equal


def test_the_table_says_what_is_allowed() -> None:
    lines = Parity(24, 0.002, 0.001, 1e-6, 1e-5, 3, 0).table().splitlines()
    told = [line.split()[-2:] for line in lines[1:]]
    assert told == [["0.002", "1e-04"], ["1e-06", "1e-03"], ["1e-05", "1e-03"], ["3", "0"]]


@pytest.mark.parametrize(("share", "is_equal"), [(0.5, True), (2.0, False)])
@pytest.mark.parametrize("what", ["roi_map", "novelty"])
def test_scenes_may_differ_by_the_tolerance(what: str, share: float, is_equal: bool) -> None:
    def other(answer: Prediction) -> Prediction:
        return answer._replace(**{what: getattr(answer, what) - np.float32(share * MAP_TOLERANCE)})

    def seen(batch: NDArray[np.uint8]) -> Prediction:
        return brightness(batch)._replace(novelty=np.ones(len(batch), np.float32))

    assert compare(seen, lambda batch: other(seen(batch)), images(), 0.5).is_equal == is_equal


def test_a_picture_that_is_inspectable_to_one_graph_alone_is_another_verdict() -> None:
    limits = limits_of([Scene(1.0, 1, 1.0, (0.5, 0.5), 1.0)])

    def new(batch: NDArray[np.uint8]) -> Prediction:
        return brightness(batch)._replace(novelty=np.full(len(batch), 1.2505, np.float32))

    def known(batch: NDArray[np.uint8]) -> Prediction:
        return brightness(batch)._replace(novelty=np.full(len(batch), 1.2495, np.float32))

    found = compare(known, new, images(), 2.0, limits)
    assert found.scene < MAP_TOLERANCE and found.changed == found.images and not found.is_equal
    # What the score rejects passes in neither case.
    assert compare(known, new, images(), 0.0, limits).changed == 0
