"""What is written in a format is read back as it was, holes and paint included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from roinspect.data.annotations import coco, cvat, label_studio, labelme, parse, rle, yolo
from roinspect.data.annotations.polygons import (
    Annotations,
    ImageShapes,
    Painted,
    Polygon,
    rasterise,
    to_ring,
    trace,
)

SIZE = (13, 17)
quick = settings(max_examples=25, deadline=None)

labels = st.sampled_from(["", "teeth", "Zähne links", "<&\"'>", "a,b;c", "牙", "0"])
eighths = st.integers(-64, 256).map(lambda value: value / 8)
rings = st.lists(st.tuples(eighths, eighths), min_size=3, max_size=6, unique=True).map(to_ring)
outlines = st.builds(lambda label, ring: Polygon(label, (ring,)), labels, rings)
masks = arrays(np.uint8, SIZE, elements=st.sampled_from([0, 0, 0, 1]))
paint = st.builds(lambda label, mask: Painted(label, rle.encode(mask)), labels, masks)
pieces = st.builds(trace, masks, labels).filter(bool).map(lambda found: found[0])
parts = st.sampled_from(["good", "Ü 1", "x&<y>\"'", "100%20", "q?d=1#2+3", "a.b", ".c"])
names = st.lists(parts, min_size=1, max_size=3).map(lambda found: "/".join(found) + ".png")


def drawings(shapes: st.SearchStrategy[Polygon | Painted]) -> st.SearchStrategy[Annotations]:
    one = st.builds(
        lambda name, found: ImageShapes(name, SIZE, tuple(found)), names, st.lists(shapes, max_size=4)
    )
    return st.lists(one, min_size=1, max_size=3, unique_by=lambda drawing: drawing.name).map(
        lambda found: Annotations(tuple(found))
    )


def read(text: str, name: str = "x.json") -> Annotations:
    found = parse(text.encode(), Path(name))
    assert found is not None
    return found


def same_masks(found: Annotations, expected: Annotations) -> None:
    for one, other in zip(found.images, expected.images, strict=True):
        assert np.array_equal(rasterise(one, SIZE), rasterise(other, SIZE))


@pytest.mark.parametrize("write", [coco.write, cvat.write], ids=["coco", "cvat"])
@quick
@given(data=st.data())
def test_many_images_in_one_file(write: Callable[[Annotations], str], data: st.DataObject) -> None:
    flat = data.draw(drawings(outlines | paint))
    assert read(write(flat)) == flat
    holed = data.draw(drawings(pieces))
    same_masks(read(write(holed)), holed)


@quick
@given(flat=drawings(outlines | paint), holed=drawings(pieces))
def test_label_studio(flat: Annotations, holed: Annotations) -> None:
    # Without a shape nothing tells the size of an image.
    kept = Annotations(
        tuple(drawing if drawing.shapes else ImageShapes(drawing.name, None, ()) for drawing in flat.images)
    )
    assert read(label_studio.write(flat)) == kept
    same_masks(read(label_studio.write(holed)), holed)


@quick
@given(flat=drawings(outlines | paint), holed=drawings(pieces))
def test_labelme(flat: Annotations, holed: Annotations) -> None:
    for drawing in flat.images:
        folder = "/".join(drawing.name.split("/")[:-1])
        found = parse(labelme.write(drawing).encode(), Path("x.json"), folder)
        assert found == Annotations((drawing,))
    for drawing in holed.images:
        same_masks(read(labelme.write(drawing)), Annotations((drawing,)))


@quick
@given(found=drawings(outlines | paint | pieces))
def test_yolo(found: Annotations) -> None:
    for drawing in found.images:
        inside = ImageShapes(drawing.name, SIZE, tuple(shape for shape in drawing.shapes if _is_near(shape)))
        text = yolo.write(inside, found.labels)
        once = yolo.read(text, drawing.name, "x.txt", found.labels)
        same_masks(once, Annotations((inside,)))
        again = yolo.write(once.images[0], found.labels)
        assert yolo.read(again, drawing.name, "x.txt", found.labels) == once


def _is_near(shape: Polygon | Painted) -> bool:
    """YOLO refuses what lies a whole image away."""
    if isinstance(shape, Painted):
        return True
    return all(-SIZE[1] <= x <= 2 * SIZE[1] and -SIZE[0] <= y <= 2 * SIZE[0] for x, y in shape.rings[0])
