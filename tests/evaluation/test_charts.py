"""Charts are well formed, stay inside their frame, and show the same with few points as with many."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from roinspect.evaluation import charts


def test_charts_are_well_formed_and_stay_inside_their_frame():
    scores = np.array([0.1, 0.2, 0.9, -3.0])
    low, high = charts.score_range(scores, 0.5)
    drawings = [
        charts.histogram_svg([("good", "a < b & c", scores)], low, high, 0.5),
        charts.roc_svg([(scores, 0.5), (-scores, 0.5)], np.array([0, 1, 1, 0])),
        charts.pro_svg([(np.array([0, 0.2, 1]), np.array([0, 0.9, 1])), (np.zeros(0),) * 2], 0.3, 0.05),
        charts.training_svg("loss", [[(0, 3.0), (1, 2.0), (2, float("inf"))], [(0, 9.0)]]),
    ]
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for node in root.iter():
            for name, limit in (("x", width), ("x1", width), ("y", height), ("y2", height), ("cx", width)):
                assert 0 <= float(node.attrib.get(name, 0)) <= limit


def test_a_model_without_a_curve_leaves_the_others_style_alone():
    rate, nothing = np.linspace(0, 1, 50), np.zeros(0)
    drawing = charts.pro_svg([(nothing, nothing), (rate, rate)], 0.3, 0.05)
    assert 'class="line second"' in drawing and 'class="line first"' not in drawing
    assert charts.pro_svg([(nothing, nothing)], 0.3, 0.05) == ""


def rising(draw, count):
    steps = draw(st.lists(st.sampled_from([0, 0, 1e-6, 1e-3, 0.2]), min_size=count, max_size=count))
    sums = np.concatenate([[0], np.cumsum([*steps, 1e-9])])
    return sums / sums[-1]


@st.composite
def curve(draw):
    count = draw(st.integers(1, 60))
    return rising(draw, count), rising(draw, count)


@settings(deadline=None)
@given(curve(), st.sampled_from([0.05, 0.3, 1.0]))
def test_a_thinned_curve_strays_less_than_a_pixel(points, limit):
    x, y = points
    thin = np.array(charts.thinned(x, y, limit))
    assert tuple(thin[0]) == (0, 0) or x[1] == 0
    assert thin[-1][0] == limit and (np.diff(thin, axis=0) >= 0).all()
    # Every point of the curve has a kept one within a step of either axis, so no step becomes a slope.
    for point in np.stack([x, y], axis=1)[x <= limit]:
        away = np.abs(thin - point) * charts.PLOTTED / (limit, 1)
        assert away.max(axis=1).min() <= 1 + 1e-9


def test_a_long_curve_is_drawn_with_few_points():
    x = np.linspace(0, 1, 200_000)
    drawing = charts.pro_svg([(x, x**0.1)], 1.0, 0.05)
    assert 4 * charts.PLOTTED > len(re.findall(r"[\d.]+,[\d.]+", drawing)) > 50
