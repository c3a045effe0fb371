"""COCO instances: polygons of one or several parts, plain or compressed run lengths, boxes."""

from __future__ import annotations

from roinspect.data.annotations import rle
from roinspect.data.annotations.document import Node, known_size, to_json
from roinspect.data.annotations.format import AnnotationFile
from roinspect.data.annotations.polygons import (
    Annotations,
    ImageShapes,
    Painted,
    Polygon,
    Shape,
    bridged,
    rasterise,
    rectangle,
    turned,
)

SUFFIX, IS_ONE_FILE = ".json", True


def read_file(file: AnnotationFile) -> Annotations | None:
    """See `Format.read_file`."""
    return read(file.json) if file.json and holds_instances(file.json) else None


def write_files(annotations: Annotations) -> dict[str, str]:
    """See `Format.write_files`."""
    return {"": write(annotations)}


def read(document: Node) -> Annotations:
    """The drawings of a COCO file.

    Each part of a polygon becomes a separate shape, because COCO defines their union. An annotation without a
    segmentation is its bbox, rotated clockwise about its centre by `attributes.rotation` degrees, as CVAT
    exports rotated boxes. Crowds are treated like other annotations. If an image has no size, coordinates are
    pixels of the photograph.

    Raises:
        UserError: the file is not valid COCO, or holds panoptic segmentation.
    """
    labels = {_id(entry.at("id")): entry.at("name").text() for entry in _listed(document, "categories")}
    images: dict[str, tuple[str, tuple[int, int] | None]] = {}
    shapes: dict[str, list[Shape]] = {}
    for entry in document.at("images").entries():
        identity = _id(entry.at("id"))
        if identity in images:
            raise entry.fault(f"has the id {identity} of an image before")
        images[identity] = entry.at("file_name").image_name(), entry.maybe_size_hw()
        shapes[identity] = []
    for entry in document.at("annotations").entries():
        identity = _id(entry.at("image_id"))
        if identity not in images:
            raise entry.fault(f"is of image {identity}, which is not in the file")
        if entry.maybe("segments_info") is not None:
            raise entry.fault(
                "is of COCO's panoptic kind, whose areas lie in pictures beside it",
                "export COCO instances (polygons or run lengths)",
            )
        category = entry.maybe("category_id")
        label = labels.get(_id(category), _id(category)) if category else ""
        shapes[identity] += _shapes(entry, label, images[identity][1])
    return Annotations(
        tuple(
            ImageShapes(name, size_hw, tuple(shapes[key]), in_pixels=size_hw is None)
            for key, (name, size_hw) in images.items()
        )
    )


def holds_instances(document: Node) -> bool:
    """Whether a JSON document has the structure of COCO: lists of images and of annotations."""
    fields = document.value
    if not isinstance(fields, dict) or not {"images", "annotations"} <= fields.keys():
        return False
    images = fields["images"]
    # If `images` is not a list, the file is damaged COCO; a list of different entries is another format.
    return not isinstance(images, list) or all(
        not isinstance(image, dict) or bool({"file_name", "id"} & image.keys()) for image in images[:1]
    )


def _listed(document: Node, name: str) -> list[Node]:
    field = document.maybe(name)
    return field.entries() if field else []


def _id(node: Node) -> str:
    return node.text()


def _shapes(entry: Node, label: str, size_hw: tuple[int, int] | None) -> list[Shape]:
    segmentation = entry.maybe("segmentation")
    if segmentation is None or segmentation.value == []:
        attributes = entry.maybe("attributes")
        is_plain = attributes is None or not isinstance(attributes.value, dict)
        rotation = None if attributes is None or is_plain else attributes.maybe("rotation")
        return [Polygon(label, (_box(entry.at("bbox"), rotation.number() if rotation else 0.0),))]
    if isinstance(segmentation.value, list):
        return [Polygon(label, (part.ring(part.flat_points()),)) for part in segmentation.entries()]
    counts = segmentation.at("counts")
    if size_hw is None:
        raise entry.fault(
            "is painted on an image whose size is missing from the file", "add height and width"
        )
    if segmentation.at("size").counts() != list(size_hw):
        raise segmentation.fault(f"has another size than its image, {list(size_hw)}")
    try:
        lengths = rle.unpack(counts.value) if isinstance(counts.value, str) else tuple(counts.counts())
    except ValueError as error:
        raise counts.fault(f"cannot be unpacked ({error})") from None
    if any(length < 0 for length in lengths) or sum(lengths) != size_hw[0] * size_hw[1]:
        raise counts.fault(f"do not add up to {size_hw[0]} x {size_hw[1]} pixels")
    return [Painted(label, lengths)]


def _box(bbox: Node, degrees: float) -> tuple[tuple[float, float], ...]:
    points = bbox.flat_points()
    if len(points) != 2:
        raise bbox.fault("is not [x, y, width, height]")
    (x, y), (width, height) = points
    return turned(rectangle(x, y, x + width, y + height), (x + width / 2, y + height / 2), degrees)


def write(annotations: Annotations) -> str:
    """The text of a COCO file; polygons with holes become run lengths, as COCO does not support holes.

    Raises:
        UserError: the size of an image is unknown.
    """
    categories = {label: number for number, label in enumerate(annotations.labels, start=1)}
    images: list[dict[str, object]] = []
    entries: list[dict[str, object]] = []
    for identity, drawing in enumerate(annotations.images, start=1):
        height, width = known_size(drawing)
        images.append({"id": identity, "file_name": drawing.name, "height": height, "width": width})
        for shape in drawing.shapes:
            entry = {"id": len(entries) + 1, "image_id": identity, "category_id": categories[shape.label]}
            entries.append(entry | _geometry(shape, (height, width)))
    return to_json(
        {
            "images": images,
            "annotations": entries,
            "categories": [
                {"id": number, "name": label, "supercategory": ""} for label, number in categories.items()
            ],
        }
    )


def _geometry(shape: Shape, size_hw: tuple[int, int]) -> dict[str, object]:
    mask = rasterise(ImageShapes("", size_hw, (shape,)), size_hw)
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
