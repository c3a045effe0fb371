"""COCO instances: polygons of one or several parts, run lengths plain or compressed, boxes."""

from __future__ import annotations

from roinspect.data import rle
from roinspect.data.annotations.document import Node, known_size, to_json
from roinspect.data.polygons import (
    Annotations,
    Drawing,
    Painted,
    Polygon,
    Shape,
    bridged,
    rasterise,
    rectangle,
)


def read(document: Node) -> Annotations:
    """The drawings of a COCO file.

    Every part of a polygon is a shape of its own: COCO unites them. An annotation without a segmentation is
    its bbox. A crowd counts like any other.

    Raises:
        UserError: the file does not hold what COCO describes.
    """
    labels = {_id(entry.at("id")): entry.at("name").text() for entry in _listed(document, "categories")}
    images: dict[str, tuple[str, tuple[int, int]]] = {}
    shapes: dict[str, list[Shape]] = {}
    for entry in document.at("images").entries():
        identity = _id(entry.at("id"))
        if identity in images:
            raise entry.fault(f"has the id {identity} of an image before")
        images[identity] = entry.at("file_name").image_name(), entry.size_hw()
        shapes[identity] = []
    for entry in document.at("annotations").entries():
        identity = _id(entry.at("image_id"))
        if identity not in images:
            raise entry.fault(f"is of image {identity}, which is not in the file")
        category = entry.maybe("category_id")
        label = labels.get(_id(category), _id(category)) if category else ""
        shapes[identity] += _shapes(entry, label, images[identity][1])
    return Annotations(
        tuple(Drawing(name, size_hw, tuple(shapes[key])) for key, (name, size_hw) in images.items())
    )


def _listed(document: Node, name: str) -> list[Node]:
    found = document.maybe(name)
    return found.entries() if found else []


def _id(node: Node) -> str:
    return node.text()


def _shapes(entry: Node, label: str, size_hw: tuple[int, int]) -> list[Shape]:
    segmentation = entry.maybe("segmentation")
    if segmentation is None or segmentation.value == []:
        return [Polygon(label, (_box(entry.at("bbox")),))]
    if isinstance(segmentation.value, list):
        return [Polygon(label, (part.ring(part.flat_points()),)) for part in segmentation.entries()]
    counts = segmentation.at("counts")
    if segmentation.at("size").counts() != list(size_hw):
        raise segmentation.fault(f"has another size than its image, {list(size_hw)}")
    try:
        lengths = rle.unpack(counts.value) if isinstance(counts.value, str) else tuple(counts.counts())
    except ValueError as error:
        raise counts.fault(f"cannot be unpacked ({error})") from None
    if any(length < 0 for length in lengths) or sum(lengths) != size_hw[0] * size_hw[1]:
        raise counts.fault(f"do not add up to {size_hw[0]} x {size_hw[1]} pixels")
    return [Painted(label, lengths)]


def _box(bbox: Node) -> tuple[tuple[float, float], ...]:
    points = bbox.flat_points()
    if len(points) != 2:
        raise bbox.fault("is not [x, y, width, height]")
    (x, y), (width, height) = points
    return rectangle(x, y, x + width, y + height)


def write(annotations: Annotations) -> str:
    """The text of a COCO file; polygons with holes are run lengths, as COCO knows no holes.

    Raises:
        UserError: the size of an image is not known.
    """
    categories = {label: place for place, label in enumerate(annotations.labels, start=1)}
    images: list[dict[str, object]] = []
    found: list[dict[str, object]] = []
    for identity, drawing in enumerate(annotations.images, start=1):
        height, width = known_size(drawing)
        images.append({"id": identity, "file_name": drawing.name, "height": height, "width": width})
        for shape in drawing.shapes:
            entry = {"id": len(found) + 1, "image_id": identity, "category_id": categories[shape.label]}
            found.append(entry | _geometry(shape, (height, width)))
    return to_json(
        {
            "images": images,
            "annotations": found,
            "categories": [
                {"id": place, "name": label, "supercategory": ""} for label, place in categories.items()
            ],
        }
    )


def _geometry(shape: Shape, size_hw: tuple[int, int]) -> dict[str, object]:
    mask = rasterise(Drawing("", size_hw, (shape,)), size_hw)
    counts = rle.encode(mask)
    part, top, left = rle.decode_part(counts, size_hw)
    segmentation: object
    if isinstance(shape, Polygon) and len(shape.rings) == 1:
        segmentation = [[value for point in bridged(shape) for value in point]]
    else:
        segmentation = {"size": list(size_hw), "counts": rle.pack(counts)}
    return {
        "segmentation": segmentation,
        "area": int(mask.sum()),
        "bbox": [left, top, part.shape[1], part.shape[0]],
        "iscrowd": 0,
    }
