"""A file's format is told by its content; whatever a file holds, it is read or refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roinspect.data.annotations import MAX_BYTES, coco, cvat, label_studio, labelme, parse, read, rle
from roinspect.data.annotations.polygons import Annotations, ImageShapes, Painted, Polygon, rasterise
from roinspect.errors import UserError

DRAWING = ImageShapes(
    "a/b.png",
    (6, 8),
    (
        Polygon("teeth", (((1.0, 1.0), (5.0, 1.0), (5.0, 5.0)),)),
        Painted("tape", (3, 5, 40)),
        Polygon("teeth", (((0.5, 0.5), (7.25, 1.0), (5.0, 5.0), (2.0, 5.0)),)),
    ),
)
BOTH = Annotations((DRAWING, ImageShapes("a/c.png", (6, 8), DRAWING.shapes[:1])))
DOCUMENTS = {
    "labelme": json.loads(labelme.write(DRAWING)),
    "coco": json.loads(coco.write(BOTH)),
    "label-studio": json.loads(label_studio.write(BOTH)),
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just([[1, 2], [3, 4]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def ways(document: Any) -> list[tuple[Any, ...]]:
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    found: list[tuple[Any, ...]] = []
    for name, value in inner:
        found.append((name,))
        if isinstance(value, dict | list):
            found += [(name, *way) for way in ways(value)]
    return found


def replaced(document: Any, way: tuple[Any, ...], value: Any, *, remove: bool) -> Any:
    found = json.loads(json.dumps(document))
    place = found
    for name in way[:-1]:
        place = place[name]
    if remove:
        del place[way[-1]]
    else:
        place[way[-1]] = value
    return found


def read_or_refused(data: bytes, name: str = "x.json") -> None:
    try:
        found = parse(data, Path(name))
    except UserError as error:
        assert "\n" not in str(error) and error.where == name
        return
    for drawing in found.images if found else ():
        size_hw = drawing.size_hw or (5, 5)
        assert rasterise(drawing, size_hw).shape == size_hw
        json.dumps(drawing.name, ensure_ascii=False).encode()


@pytest.mark.parametrize("kind", DOCUMENTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_to_the_structure(kind: str, data: st.DataObject) -> None:
    document = DOCUMENTS[kind]
    for _ in range(data.draw(st.integers(1, 2))):
        if not (found := ways(document)):
            break
        way = data.draw(st.sampled_from(found))
        document = replaced(document, way, data.draw(json_values), remove=data.draw(st.booleans()))
    read_or_refused(json.dumps(document).encode())


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_damage_to_the_bytes(data: st.DataObject) -> None:
    whole = data.draw(
        st.sampled_from([*(json.dumps(one) for one in DOCUMENTS.values()), cvat.write(BOTH)])
    ).encode()
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    read_or_refused(whole[:start] + data.draw(st.binary(max_size=6)) + whole[stop:])


@settings(max_examples=100, deadline=None)
@given(value=st.text(max_size=6) | st.floats().map(str) | st.integers().map(str), place=st.integers(0, 40))
def test_any_value_in_xml(value: str, place: int) -> None:
    parts = cvat.write(BOTH).split('"')
    place = 2 * (place % ((len(parts) - 5) // 2)) + 5
    escaped = "".join(f"&#{ord(letter)};" for letter in value)
    parts[place] = escaped
    read_or_refused('"'.join(parts).encode())


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60), name=st.sampled_from(["x.json", "x.xml", "x.txt"]))
def test_any_bytes(data: bytes, name: str) -> None:
    read_or_refused(data, name)
    read_or_refused(b"0 0.1 0.2 0.3 0.4 0.5 0.6\n" + data, name)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"shapes":' * 200_000, "nested too deeply"),
        (b'{"shapes": [', "no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no JSON"),
        (b'{"a": 1}', "known format"),
        (b"hello", "neither JSON nor XML"),
        (b"[]", "known format"),
        (b'{"shapes": [], "imageHeight": 3, "imageWidth": 3}', "no 'imagePath'"),
    ],
)
def test_files_that_are_none(tmp_path: Path, data: bytes, fault: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match=fault) as caught:
        read(path)
    assert caught.value.where == str(path) and len(str(caught.value)) < 400


def test_absent_and_huge_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "absent.json")
    with (tmp_path / "huge.json").open("wb") as file:
        os.truncate(file.fileno(), MAX_BYTES + 1)
    with pytest.raises(UserError, match="larger than"):
        read(tmp_path / "huge.json")


def test_a_folder_of_every_kind(tmp_path: Path) -> None:
    kinds = {
        "deep/er/b.json": labelme.write(ImageShapes("b.png", (6, 8), ())),
        "coco.json": coco.write(Annotations((ImageShapes("k/1.png", (6, 8), ()),))),
        "cvat.xml": cvat.write(Annotations((ImageShapes("k/2.png", (6, 8), ()),))),
        "studio.json": label_studio.write(Annotations((ImageShapes("k/3.png", None, ()),))),
        "y/4.txt": "",
        "metrics.json": "{}",
        "other.xml": "<html/>",
        ".hidden.json": "?",
    }
    for name, text in kinds.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert [drawing.name for drawing in read(tmp_path).images] == [
        "k/1.png",
        "k/2.png",
        "deep/er/b.png",
        "k/3.png",
        "y/4",
    ]
    (tmp_path / "k").mkdir()
    (tmp_path / "k/5.json").write_text(labelme.write(ImageShapes("1.png", (6, 8), ())))
    with pytest.raises(UserError, match=r"k/1\.png is annotated twice"):
        read(tmp_path)


def test_a_file_is_parsed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    path.write_text(coco.write(BOTH))
    first = read(path)
    times = path.stat().st_mtime_ns
    monkeypatch.setattr(coco, "read", lambda document: Annotations(()))
    assert read(path) == first
    os.utime(path, ns=(times, times + 1_000_000))
    assert read(path).images == ()


def test_counts_of_paint_are_whole() -> None:
    assert rle.decode((3, 5, 40), (6, 8)).sum() == 5


FOREIGN = {
    "labelbox": [
        {"ID": "0.png", "External ID": "0.png", "Label": {"objects": [{"polygon": [{"x": 1, "y": 1}]}]}}
    ],
    "mmdetection": [{"filename": "0.png", "width": 64, "height": 48, "ann": {"bboxes": [[1, 2, 3, 4]]}}],
    "tf.js": [{"filename": "0.png", "bbox": [1, 2, 30, 20], "class": "scratch"}],
    "mpii": [{"img_paths": "0.png", "img_width": 64.0, "joint_self": [[6.0, 3.0, 1.0]]}],
    "createml": [{"image": "0.png", "annotations": [{"label": "a", "coordinates": {"x": 2, "y": 2}}]}],
    "coco-like": {"images": ["0.png"], "annotations": [], "info": {}} | {"images": [{"name": "0.png"}]},
    "shapes of others": {"shapes": [{"type": "rect"}], "picture": "0.png"},
    "via": {"0.png1234": {"filename": "0.png", "size": 1234, "regions": [{"shape_attributes": {}}]}},
    "an image alone": {"image": "0.png"},
    "classes": {"names": ["a", "b"]},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_tools_files_are_no_annotations(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(FOREIGN[kind]))
    with pytest.raises(UserError, match="holds no annotations of a known format"):
        read(path)
    assert read(tmp_path).images == ()
