"""Measures agree with scikit-learn, keep their error bounds, and cannot be flattered from outside the ROI."""

import json
import math
import tracemalloc
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from roinspect.errors import UserError
from roinspect.evaluation import curves
from roinspect.evaluation.breakdown import breakdown
from roinspect.evaluation.histogram import PixelHistogram, order_keys
from roinspect.evaluation.metrics import RoiMetrics
from roinspect.evaluation.values import MetricValues

pytestmark = pytest.mark.filterwarnings("ignore:too few:RuntimeWarning")


def measure(maps, truth, roi=None, *, scores=None, label=None, outside=None, threshold=None, **more):
    """Measures one batch; a part is defective where truth meets the ROI."""
    maps = np.asarray(maps, np.float32)
    roi = np.ones_like(truth) if roi is None else roi
    label = (truth & roi).any((1, 2)) if label is None else np.asarray(label)
    outside = truth.any((1, 2)) & ~label.astype(bool) if outside is None else np.asarray(outside)
    scores = maps.max((1, 2)) if scores is None else np.asarray(scores)
    metrics = RoiMetrics()
    metrics.update(scores, maps, label, outside, truth, roi, ["any"] * len(maps), **more)
    return metrics.compute(threshold)


def scene(seed=0, count=6, size=24):
    """Random maps; the first part is good, the last has a defect outside the ROI only."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((count, size, size), np.uint8)
    for mask in truth[1:-1]:
        for _ in range(rng.integers(1, 4)):
            cv2.circle(mask, tuple(map(int, rng.integers(0, size, 2))), int(rng.integers(1, 5)), 1, -1)
    truth[1, 10:13, 10:13] = 1
    truth[-1, :3, :5] = 1
    roi = np.zeros_like(truth)
    roi[:, 4 : size - 5, 6:] = 1
    maps = (rng.normal(size=truth.shape) + 1.5 * truth).astype(np.float32)
    return maps, truth, roi


def exact_aupro(maps, truth, roi, limit):
    """Sweeps every distinct score and measures each region on its own: slow, with nothing binned."""
    regions = []
    for index, mask in enumerate(truth & roi):
        found, labels = cv2.connectedComponents(mask, connectivity=8)
        regions += [maps[index][labels == number] for number in range(1, found)]
    sound = maps[(roi == 1) & (truth == 0)]
    rate, covered = [0.0], [0.0]
    for threshold in np.unique(maps[roi == 1])[::-1]:
        rate.append((sound >= threshold).mean())
        covered.append(np.mean([(region >= threshold).mean() for region in regions]))
    area = 0.0
    for left, right, low, high in zip(rate, rate[1:], covered, covered[1:], strict=False):
        end = min(right, limit)
        if end > left:
            at_end = low + (high - low) * (end - left) / (right - left)
            area += (end - left) * (low + at_end) / 2
    return area / limit


@settings(deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(4, 60), elements=st.integers(-3, 3).map(float)),
    st.integers(0, 2**32 - 1),
)
def test_exact_measures_equal_scikit_learn_with_ties(scores, seed):
    labels = np.random.default_rng(seed).integers(0, 2, len(scores))
    labels[:2] = 0, 1
    _, positive, negative = curves.tally(scores, labels)
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    assert curves.auroc(positive, negative).value == pytest.approx(roc_auc_score(labels, scores))
    expected = average_precision_score(labels, scores)
    assert curves.average_precision(positive, negative).value == pytest.approx(expected)
    assert curves.f1_max(positive, negative).value == pytest.approx(f1.max())


@settings(deadline=None)
@given(hnp.arrays(np.float32, 30, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_keys_never_reverse_an_order(values):
    values = np.sort(values)
    keys = order_keys(values)
    assert (np.diff(keys) >= 0).all()
    assert keys.min() >= 0 and keys.max() < 2**20
    assert (np.diff(keys)[np.diff(values) == 0] == 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 1e-3, 1e6]), st.sampled_from([0.0, 5.0]))
def test_pixel_measures_stay_within_their_error_bounds(seed, scale, offset):
    maps, truth, roi = scene(seed)
    maps = np.float32(offset) + np.float32(scale) * maps
    values = measure(maps, truth, roi)
    scores, labels = maps[roi == 1], truth[roi == 1]
    precision, recall, _ = precision_recall_curve(labels, scores)
    exact = {
        "pixel_auroc": roc_auc_score(labels, scores),
        "pixel_ap": average_precision_score(labels, scores),
        "pixel_f1_max": (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max(),
        "aupro": exact_aupro(maps, truth, roi, 0.3),
        "aupro_005": exact_aupro(maps, truth, roi, 0.05),
    }
    for name, value in exact.items():
        error = getattr(values, f"{name}_error")
        assert abs(getattr(values, name) - value) <= error + 1e-9, name
        # Far from zero float32 itself leaves few distinct leading bits; the bound then says so.
        # Below a rate of 0.05 there are a dozen pixels, each of which weighs more.
        assert error < (0.1 if name == "aupro_005" else 0.02) or offset, name


def test_a_map_that_is_zero_almost_everywhere_is_measured_exactly():
    maps, truth, roi = scene()
    maps = np.maximum(maps - 2, 0)
    values = measure(maps, truth, roi)
    assert (maps[roi == 1] == 0).mean() > 0.9
    assert values.pixel_auroc == pytest.approx(roc_auc_score(truth[roi == 1], maps[roi == 1]), abs=1e-4)
    assert values.aupro == pytest.approx(exact_aupro(maps, truth, roi, 0.3), abs=1e-3)
    for name in ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro"):
        assert getattr(values, f"{name}_error") < 0.005, name


def test_aupro_weighs_a_small_region_like_a_large_one():
    truth = np.zeros((2, 30, 30), np.uint8)
    truth[0, 2:4, 2:4] = 1
    truth[0, 10:25, 10:25] = 1
    maps = np.zeros(truth.shape)
    maps[0, 10:25, 10:25] = 1
    assert measure(maps, truth).aupro == pytest.approx(0.5 + 0.5 * 0.3 / 2)


def test_batches_make_no_difference():
    maps, truth, roi = scene()
    label = (truth & roi).any((1, 2))
    outside = truth.any((1, 2)) & ~label
    metrics = RoiMetrics()
    for part in (slice(0, 1), slice(1, 4), slice(4, 6)):
        names = ["any"] * len(maps[part])
        metrics.update(
            maps[part].max((1, 2)), maps[part], label[part], outside[part], truth[part], roi[part], names
        )
    streamed, whole = metrics.compute(0.5).to_dict(), measure(maps, truth, roi, threshold=0.5).to_dict()
    assert streamed.pop("categories")[0] == pytest.approx(whole.pop("categories")[0])
    assert (streamed.pop("intervals"), streamed.pop("groups")) == (
        whole.pop("intervals"),
        whole.pop("groups"),
    )
    assert streamed == pytest.approx(whole)


@pytest.mark.parametrize("outside_value", [-5.0, 0.0, 100.0])
def test_pixels_outside_the_roi_change_no_pixel_measure(outside_value):
    maps, truth, roi = scene()
    changed = np.where(roi == 1, maps, np.float32(outside_value))
    before = measure(maps, truth, roi, scores=np.arange(6))
    after = measure(changed, truth, roi, scores=np.arange(6))
    for name in ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro", "aupro_005"):
        assert getattr(before, name) == getattr(after, name)


def test_alarm_rates_at_recall_and_counts_at_a_threshold():
    scores = np.concatenate([np.linspace(0.5, 0.69, 20), [0.1, 0.2, 0.3, 0.9], [0.5, 0.6]])
    label = np.array([1] * 20 + [0] * 6)
    outside = np.array([False] * 24 + [True] * 2)
    truth = np.zeros((26, 4, 4), np.uint8)
    truth[:20, 0, 0] = 1
    values = measure(
        np.zeros(truth.shape), truth, scores=scores, label=label, outside=outside, threshold=0.545
    )
    assert values.recall95_threshold == pytest.approx(0.51)
    assert values.outside_alarm_rate_at_recall95 == 0.5
    assert values.good_alarm_rate_at_recall95 == 0.25
    assert (values.escapes, values.caught, values.good_rejects, values.outside_alarms) == (5, 15, 1, 1)
    assert values.false_rejects == 2
    assert (values.defective_parts, values.good_parts, values.outside_only_parts) == (20, 4, 2)


def test_a_score_equal_to_the_threshold_is_an_alarm():
    truth = np.zeros((2, 4, 4), np.uint8)
    truth[1, 0, 0] = 1
    assert measure(truth, truth, scores=[0.1, 0.5], threshold=0.5).escapes == 0


@pytest.mark.parametrize("defective", [False, True])
def test_one_class_gives_nan_and_a_warning(defective):
    truth = np.full((3, 8, 8), defective, np.uint8)
    with pytest.warns(RuntimeWarning, match="undefined"):
        values = measure(np.zeros(truth.shape), truth, threshold=0.5)
    for name in ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "aupro", "aupro_005"):
        assert math.isnan(getattr(values, name)), name
    assert math.isnan(values.intervals.bounds["image_auroc"].low)
    json.dumps(values.to_dict(), allow_nan=False)


def test_nothing_at_all_gives_nan_and_a_warning():
    with (
        pytest.warns(RuntimeWarning, match="no defective and no good parts"),
        pytest.warns(RuntimeWarning, match="no defective and no good pixels"),
    ):
        values = RoiMetrics().compute()
    assert isinstance(values, MetricValues) and math.isnan(values.image_auroc) and values.escapes is None


def test_two_classes_give_no_warning():
    maps, truth, roi = (np.concatenate([one] * 5) for one in scene())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(maps, truth, roi)


def test_images_without_truth_count_at_image_level_alone():
    maps, truth, roi = scene()
    unknown = np.concatenate([truth, np.zeros_like(truth[:1])])
    values = measure(
        np.concatenate([maps, maps[:1] + 50]),
        unknown,
        np.concatenate([roi, roi[:1]]),
        label=np.append((truth & roi).any((1, 2)), True),
        has_gt_mask=np.array([True] * 6 + [False]),
    )
    assert values.pixel_auroc == measure(maps, truth, roi).pixel_auroc
    assert values.defective_parts == measure(maps, truth, roi).defective_parts + 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["pred_score", "anomaly_map"])
def test_nan_and_infinity_are_refused(value, where):
    maps, truth, roi = scene()
    scores = maps.max((1, 2))
    (scores if where == "pred_score" else maps).flat[0] = value
    with pytest.raises(UserError, match=where):
        measure(maps, truth, roi, scores=scores)


def test_shapes_that_do_not_fit_are_refused():
    maps, truth, roi = scene()
    with pytest.raises(ValueError, match="must be one"):
        measure(maps, truth, roi[:, :-1], label=np.zeros(6))
    with pytest.raises(ValueError, match="differ in number"):
        measure(maps, truth, roi, label=np.zeros(5), outside=np.zeros(5))


def test_torchmetrics_measures_the_same():
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    for ties in (1000, 7):
        scores, label = rng.integers(0, ties, 80) / ties, rng.integers(0, 2, 80)
        truth = np.zeros((80, 2, 2), np.uint8)
        truth[:, 0, 0] = label
        values = measure(np.zeros(truth.shape), truth, scores=scores, label=label)
        pair = torch.tensor(scores), torch.tensor(label)
        assert values.image_auroc == pytest.approx(torchmetrics.binary_auroc(*pair).item(), abs=1e-6)
        expected = torchmetrics.binary_average_precision(*pair).item()
        assert values.image_ap == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("limit", [0.3, 0.05])
def test_anomalib_measures_the_same_aupro(limit):
    anomalib = pytest.importorskip("anomalib.metrics.aupro")
    torch = pytest.importorskip("torch")
    random = [scene(seed, size=64) for seed in range(3)]
    smooth = [(cv2.GaussianBlur(maps.transpose(1, 2, 0), (0, 0), 2).transpose(2, 0, 1), truth)
              for maps, truth, _ in random]  # fmt: skip
    for maps, truth in [(maps, truth) for maps, truth, _ in random] + smooth:
        theirs = anomalib._AUPRO(fpr_limit=limit)
        theirs.update(torch.tensor(maps), torch.tensor(truth))
        values = measure(maps, truth)
        ours, error = (
            (values.aupro, values.aupro_error) if limit == 0.3 else (values.aupro_005, values.aupro_005_error)
        )
        assert ours == pytest.approx(theirs.compute().item(), abs=error + 2e-3)


def test_what_is_held_does_not_grow_with_the_pixels():
    def held(count, size):
        metrics = RoiMetrics()
        maps = np.random.default_rng(0).random((8, size, size), np.float32)
        truth = np.zeros(maps.shape, np.uint8)
        truth[:4, :3, :3] = 1
        label, outside = np.arange(8) < 4, np.zeros(8, bool)
        batch = (maps.max((1, 2)), maps, label, outside, truth, np.ones_like(truth), ["pit"] * 8)
        metrics.update(*batch)
        tracemalloc.start()
        for _ in range(count // 8):
            metrics.update(*batch, group=["left"] * 8)
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return grown / count

    # Bytes a part; 230,000 of them take a few tens of megabytes, whatever the maps' size.
    # So many that NumPy's cache of small freed arrays, up to 12 kB, does not matter.
    small, large = held(1600, 16), held(1600, 128)
    assert small < 150 and large < 150
    assert large == pytest.approx(small, rel=0.2)


def test_every_category_and_group_has_its_own_row():
    maps, truth, roi = scene()
    metrics = RoiMetrics()
    scores = np.array([0.0, 4.0, 2.0, 3.0, 1.0, 5.0])
    label = np.array([0, 1, 1, 1, 1, 0])
    names, groups = ["good", "pit", "pit", "stain", "pit", "good"], ["a", "a", "a", "b", "b", ""]
    metrics.update(scores, maps, label, np.zeros(6, bool), truth, roi, names, group=groups)
    values = metrics.compute(2.0)
    rows = {row.name: row for row in values.categories}
    pit = rows["pit"]
    assert (pit.parts, pit.defective_parts, pit.escapes, pit.false_rejects) == (3, 3, 1, 0)
    assert pit.mean_score == pytest.approx(7 / 3) and pit.image_auroc == 0.5
    assert rows["good"].false_rejects == 1 and math.isnan(rows["good"].image_auroc)
    assert sum(row.parts for row in rows.values()) == 6
    found = {
        row.name: (row.parts, row.defective_parts, row.escapes, row.false_rejects) for row in values.groups
    }
    assert found == {"a": (3, 2, 0, 0), "b": (2, 2, 1, 0), "": (1, 0, 0, 1)}
    assert values.to_dict()["categories"][1]["escapes"] == 1


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_rows_add_up_to_the_whole(seed):
    random = np.random.default_rng(seed)
    scores, label = random.integers(0, 4, 30) / 4, random.integers(0, 2, 30).astype(bool)
    label[:2] = False, True
    rows = breakdown(random.choice(["x", "y", "z"], 30).tolist(), scores, label, 0.5)
    assert sum(row.escapes for row in rows) == (label & (scores < 0.5)).sum()
    assert sum(row.false_rejects for row in rows) == (~label & (scores >= 0.5)).sum()
    mean = sum(row.image_auroc * row.defective_parts for row in rows if row.defective_parts) / label.sum()
    assert mean == pytest.approx(roc_auc_score(label, scores))
    assert all(row.escapes is row.false_rejects is None for row in breakdown(["x"] * 30, scores, label, None))


def crowded(rounds: int = 6, *, early: bool = False) -> tuple[RoiMetrics, list[np.ndarray], list[np.ndarray]]:
    """Maps whose scores all lie within 1e-4; with a first map of other scores, if asked."""
    random, metrics, scores, labels = np.random.default_rng(0), RoiMetrics(), [], []
    for number in range(rounds):
        truth = np.zeros((1, 64, 64), np.uint8)
        truth[0, 8:24, 8:24] = 1
        x = random.random((1, 64, 64)) + 0.6 * truth
        # A map that spreads over many bins, and a few pixels in the one that is crowded later.
        spread = x * (random.random(x.shape) > 0.003) + 0.9992 * (random.random(x.shape) < 0.003)
        anomaly_map = (spread if early and not number else 0.999 + 1e-4 * x).astype(np.float32)
        metrics.update(
            np.ones(1), anomaly_map, np.ones(1, int), np.zeros(1, bool), truth, np.ones_like(truth), ["dent"]
        )
        scores.append(anomaly_map.ravel())
        labels.append(truth.ravel())
    return metrics, scores, labels


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_crowded_scores_are_told_apart(early: bool) -> None:
    metrics, scores, labels = crowded(early=early)
    values = metrics.compute()
    _, positive, negative = curves.tally(np.concatenate(scores), np.concatenate(labels))
    for name, exact in (
        ("pixel_auroc", curves.auroc(positive, negative).value),
        ("pixel_ap", curves.average_precision(positive, negative).value),
        ("pixel_f1_max", curves.f1_max(positive, negative).value),
    ):
        value, error = getattr(values, name), getattr(values, f"{name}_error")
        assert abs(value - exact) <= error + 1e-12 and error < 0.005, name


@pytest.mark.filterwarnings("ignore")
def test_bins_that_are_no_longer_crowded_are_put_together() -> None:
    random, histogram = np.random.default_rng(0), PixelHistogram()
    whole = np.ones((16, 16), bool)
    scores = []
    for number in range(900):
        # One bin after another holds a whole image.
        values = np.float32(1 + number * 2**-11) + random.random((16, 16), np.float32) * np.float32(2**-12)
        histogram.add(values, whole & (np.arange(16) < 4), whole)
        scores.append(values)
    counts = histogram.counts()
    assert len(histogram._split) <= 400
    assert (counts.positive + counts.negative).sum() == 900 * 256 and counts.positive.sum() == 900 * 64
