"""What is drawn in an annotation file is the mask of the image it names, for regions and for defects."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roinspect.cli import main
from roinspect.data.annotations import FORMATS, coco, labelme
from roinspect.data.annotations.conversion import MASKS, convert
from roinspect.data.annotations.drawn import DrawnMask, drawn_in_file, match, split_labels
from roinspect.data.annotations.format import AnnotationFile
from roinspect.data.annotations.polygons import Annotations, ImageShapes, Polygon, rectangle
from roinspect.data.dataset import DecodedCache, SharedMasks, load_sample
from roinspect.data.reading import read_data
from roinspect.data.records import Record, read_records
from roinspect.data.roi import attach_roi, load_roi
from roinspect.errors import UserError
from roinspect.images.pixels import read_mask, write_image
from roinspect.training.runs import fingerprint

SIZE = (8, 10)
IMAGES = ("train/good/a.png", "train/good/b.png", "test/pit/a.png")
ENDINGS = {"coco": ".json", "cvat": ".xml", "label-studio": ".json"}


def box(label: str = "teeth", width: float = 4) -> Polygon:
    return Polygon(label, (rectangle(0, 0, width, 8),))


def drawing(name: str, *shapes: Polygon, size: tuple[int, int] = SIZE) -> ImageShapes:
    return ImageShapes(name, size, shapes or (box(),))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for number, name in enumerate(IMAGES):
        write_image(tmp_path / name, np.full(SIZE, 40 * number, np.uint8))
    return tmp_path


def write(path: Path, *drawings: ImageShapes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(coco.write(Annotations(drawings)))
    return str(path)


def widths(records: list[Record]) -> dict[str, int]:
    """How wide the region of every image is."""
    return {record.key: int(load_roi(record, SIZE).sum()) // 8 for record in records}


# -- which drawing is of which image -------------------------------------------------------------------------


def test_a_file_of_one_image_serves_all(tree: Path) -> None:
    roi = tree / "polygon.json"
    roi.write_text(labelme.write(drawing("elsewhere/zipper.jpg")))
    attached = attach_roi(read_data(tree, str(roi)))
    assert set(widths(attached).values()) == {4} and len({record.roi_path for record in attached}) == 1


def test_a_file_of_several_images_serves_each(tree: Path) -> None:
    roi = write(tree / "all.json", *(drawing(name, box(width=i + 1)) for i, name in enumerate(IMAGES)))
    found = widths(attach_roi(read_data(tree, roi)))
    assert found == {name: i + 1 for i, name in enumerate(IMAGES)}


def test_one_image_left_out_is_named(tree: Path) -> None:
    roi = write(tree / "all.json", drawing(IMAGES[0]), drawing(IMAGES[1]), ImageShapes(IMAGES[2], SIZE, ()))
    with pytest.raises(UserError, match="1 of 3 images have none") as caught:
        attach_roi(read_data(tree, roi))
    assert caught.value.where == IMAGES[2]
    train = [record for record in read_records(tree) if record.split == "train"]
    assert len(attach_roi(read_data(tree, roi), train)) == 2


def test_a_file_name_that_only_one_image_has(tree: Path) -> None:
    train = [record for record in read_records(tree) if record.split == "train"]
    roi = write(tree / "names.json", drawing("b.jpg"), drawing("good/a.png", box(width=2)))
    assert widths(attach_roi(read_data(tree, roi), train)) == {IMAGES[0]: 2, IMAGES[1]: 4}
    # The other image of that name counts although it is not among these records.
    roi = write(tree / "names2.json", drawing("b.png"), drawing("a.png"))
    with pytest.raises(UserError, match=r"a\.png fits \S+/a\.png as well as \S+/a\.png"):
        attach_roi(read_data(tree, roi), train)


@pytest.mark.parametrize(
    ("names", "keys", "expected"),
    [
        (["a"], ["x/a.png"], {"x/a.png": "a"}),
        (["C/data/x/a.png"], ["x/a.jpg", "y/a.jpg"], {"x/a.jpg": "C/data/x/a.png"}),
        (["x/a.png"], ["x/a.png", "old/x/a.png"], {"x/a.png": "x/a.png"}),
        (["x/a.v1"], ["x/a.v1.png", "x/a.png"], {"x/a.v1.png": "x/a.v1"}),
        (["y/a.png"], ["x/a.png"], {}),
        (["x/A.png"], ["x/a.png"], {}),
    ],
)
def test_matching(names: list[str], keys: list[str], expected: dict[str, str]) -> None:
    assert match(names, keys, lambda: keys, where="f") == expected


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["a.png"], ["x/a.png", "y/a.png"]),
        (["x/a.png", "x/a.jpg"], ["x/a.png"]),
        (["a.png", "x/a"], ["w/x/a.png"]),
        (["x/a.png"], ["x/a.png", "x/a.jpg"]),
        (["x/a"], ["x/a.png", "x/a.jpg"]),
    ],
)
def test_what_cannot_be_told_apart_is_refused(names: list[str], keys: list[str]) -> None:
    with pytest.raises(UserError, match="as well as"):
        match(names, keys, lambda: keys, where="f")


def test_an_image_that_is_not_asked_for_owns_its_name() -> None:
    with pytest.raises(UserError, match=r"x/a\.png fits x/a\.jpg as well as x/a\.png"):
        match(["x/a.png"], ["x/a.jpg"], lambda: ["x/a.png", "x/a.jpg"], where="f")


@pytest.mark.parametrize("below", ["", "C/photographs/"])
def test_one_file_name_in_every_folder_costs_each_image_the_same(
    below: str, calls: Callable[[Callable[[], object]], int]
) -> None:
    def cost(images: int) -> int:
        keys = [f"good/p{number}/cam0.png" for number in range(images)]
        names = {key: f"{below}{key}" for key in keys}
        assert match(names.values(), keys, lambda: keys, where="f") == names
        return calls(lambda: match(names.values(), keys, lambda: keys, where="f"))

    assert cost(200) < 2.5 * cost(100)


def test_a_name_as_deep_as_a_file_can_tell(calls: Callable[[Callable[[], object]], int]) -> None:
    deep = "x/" * 100_000 + "good/a.png"
    key = "good/a.png"
    assert calls(lambda: match([deep], [key], lambda: [key], where="f")) < 1000
    assert match([deep], [key], lambda: [key], where="f") == {key: deep}


def test_folders_of_files_beside_masks_and_photographs(tree: Path) -> None:
    for place in ("drawn", "."):
        folder = tree / place
        for name in IMAGES[:2]:
            path = (folder / name).with_suffix(".json")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(labelme.write(drawing(name)))
    write_image(tree / "drawn" / IMAGES[2], np.eye(*SIZE, dtype=np.uint8))
    assert widths(attach_roi(read_data(tree, str(tree / "drawn")))) == dict(
        zip(IMAGES, (4, 4, 1), strict=True)
    )
    train = [record for record in read_records(tree) if record.split == "train"]
    assert set(widths(attach_roi(read_data(tree, str(tree)), train)).values()) == {4}
    shutil.move(tree / "drawn", tree / "roi")
    assert len(attach_roi(read_data(tree, "auto"))) == 3
    write_image(tree / "roi" / IMAGES[0], np.ones(SIZE, np.uint8))
    with pytest.raises(UserError, match="as well as"):
        attach_roi(read_data(tree, "auto"))


# -- labels --------------------------------------------------------------------------------------------------


def test_labels_are_chosen(tree: Path) -> None:
    both = drawing("a.png", box("teeth", 2), Polygon("tape", (rectangle(4, 0, 7, 8),)))
    roi = write(tree / "x.json", both)
    found = {
        labels: widths(attach_roi(read_data(tree, f"{roi}{labels}")))[IMAGES[0]]
        for labels in ("", "#teeth", "#tape", "#tape,teeth")
    }
    assert found == {"": 5, "#teeth": 2, "#tape": 3, "#tape,teeth": 5}
    with pytest.raises(UserError, match=r"no label 'tooth'; it has 'tape', 'teeth'"):
        attach_roi(read_data(tree, f"{roi}#tooth"))


def test_an_image_without_the_label_is_named(tree: Path) -> None:
    roi = write(tree / "x.json", drawing(IMAGES[0]), drawing(IMAGES[1]), drawing(IMAGES[2], box("tape")))
    with pytest.raises(UserError, match="1 of 3 images have none") as caught:
        attach_roi(read_data(tree, f"{roi}#teeth"))
    assert caught.value.where == IMAGES[2]


def test_a_file_may_have_a_hash_in_its_name(tree: Path) -> None:
    roi = write(tree / "x#1.json", drawing("a.png"))
    assert split_labels(roi) == (roi, None) and split_labels(f"{roi}#a, b") == (roi, frozenset({"a", "b"}))
    assert widths(attach_roi(read_data(tree, f"{roi}#teeth")))[IMAGES[0]] == 4


# -- pixels --------------------------------------------------------------------------------------------------


def test_another_size_of_the_same_aspect_is_scaled(tree: Path) -> None:
    roi = write(tree / "x.json", drawing("a.png", Polygon("a", (rectangle(0, 0, 6, 16),)), size=(16, 20)))
    assert set(widths(attach_roi(read_data(tree, roi))).values()) == {3}
    roi = write(tree / "y.json", drawing("a.png", size=(20, 16)))
    record = attach_roi(read_data(tree, roi))[0]
    with pytest.raises(UserError, match=r"drawn on 20x16 .* image's 8x10"):
        load_roi(record, SIZE)


def test_a_drawing_that_marks_nothing_is_refused(tree: Path) -> None:
    roi = write(tree / "x.json", drawing("a.png", Polygon("a", (rectangle(50, 50, 60, 60),))))
    with pytest.raises(UserError, match="marks nothing"):
        load_roi(attach_roi(read_data(tree, roi))[0], SIZE)


def test_huge_paint_is_not_scaled(tree: Path) -> None:
    size = [12_800, 16_000]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": size[0], "width": size[1]}],
        "annotations": [{"image_id": 1, "segmentation": {"size": size, "counts": [0, size[0] * size[1]]}}],
    }
    (tree / "x.json").write_text(json.dumps(document))
    record = attach_roi(read_data(tree, str(tree / "x.json")))[0]
    with pytest.raises(UserError, match="too many to be scaled"):
        load_roi(record, SIZE)


def test_a_shared_drawing_is_filled_once_a_size(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roi = write(tree / "x.json", drawing("a.png"))
    records = attach_roi(read_data(tree, roi))
    source = records[0].roi_path
    assert isinstance(source, DrawnMask)
    shared = SharedMasks(records)
    first = shared(source, SIZE)
    monkeypatch.setattr(DrawnMask, "pixels", None)
    assert shared(source, SIZE) is first
    monkeypatch.undo()
    assert shared(source, (16, 20)).shape == (16, 20)
    with DecodedCache(records, SIZE) as cache:
        assert cache.roi_masks.sum() == 3 * 32


def test_fingerprints_follow_the_drawing_not_the_file(tree: Path) -> None:
    def found(*drawings: ImageShapes, labels: str = "") -> str:
        roi = write(tree / "x.json", *drawings) + labels
        return fingerprint(
            record.roi_path for record in attach_roi(read_data(tree, roi), read_records(tree)[:1])
        )

    key = read_records(tree)[0].key
    one = found(drawing(key), drawing("other.png"))
    assert (
        one
        == found(drawing("more.png"), drawing(key))
        == found(drawing(key, box(), box("a")), labels="#teeth")
    )
    assert one != found(drawing(key, box(width=5)), drawing("other.png"))


# -- defects -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["ground_truth/pit/a.json", "masks/test/pit/a_mask.json"])
def test_a_labelme_file_as_ground_truth(tree: Path, place: str) -> None:
    (tree / place).parent.mkdir(parents=True)
    (tree / place).write_text(labelme.write(drawing("a.png", box("pit", 2))))
    record = read_records(tree)[0]
    assert record.mask_path == DrawnMask(tree / place)
    sample = load_sample(record, None)
    assert sample.gt_mask.sum() == 16 and (sample.label, sample.place) == (1, "inside")
    write_image((tree / place).with_suffix(".png"), np.ones(SIZE, np.uint8))
    with pytest.raises(UserError, match="fits the same image"):
        read_records(tree)


def test_a_broken_ground_truth_is_a_problem_among_others(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "ground_truth/pit").mkdir(parents=True)
    (tree / "ground_truth/pit/a.json").write_text("{")
    assert read_records(tree)
    with pytest.raises(UserError, match="no JSON"):
        load_sample(read_records(tree)[0], None)


def test_a_manifest_names_annotations(tree: Path) -> None:
    write(tree / "notes/defects.json", drawing(IMAGES[2], box("pit", 3), box("dust", 5)), drawing(IMAGES[0]))
    write(tree / "notes/roi.json", drawing("z.png"))
    rows = [
        "image_path,label,mask_path,roi_path",
        f"{IMAGES[0]},good,,notes/roi.json",
        rf"{IMAGES[2]},pit,notes\defects.json#pit,notes/roi.json",
    ]
    (tree / "manifest.csv").write_text("\n".join(rows))
    records = {record.key: record for record in attach_roi(read_data(tree, "auto"))}
    assert load_sample(records[IMAGES[2]], None).gt_mask.sum() == 24
    assert load_sample(records[IMAGES[0]], None).roi_mask.sum() == 32
    assert attach_roi(read_data(tree, "column:roi_path"), list(records.values())) == list(records.values())


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        ("notes/defects.json#dent", "no label 'dent'"),
        ("notes/gone.json", "not there"),
        ("notes/defects.json", "does not annotate train/good/b.png"),
        ("notes/broken.json", "no JSON"),
    ],
)
def test_faults_of_a_manifest_are_one_line(tree: Path, cell: str, fault: str) -> None:
    write(tree / "notes/defects.json", drawing(IMAGES[2], box("pit")), drawing(IMAGES[0]))
    (tree / "notes/broken.json").write_text("{")
    (tree / "manifest.csv").write_text(f"image_path,label,mask_path\n{IMAGES[1]},pit,{cell}\n")
    with pytest.raises(UserError, match=fault):
        read_records(tree)


# -- from end to end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [*FORMATS, MASKS])
def test_every_format_serves_as_the_masks_do(
    zipper: Path, tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"out{ENDINGS.get(to, '')}"
    assert main(["roi", "convert", str(zipper / "roi"), str(out), "--to", to, "--label", "region"]) == 0
    assert f"20 images are in {out}" in capsys.readouterr().out
    labels = "" if to == "masks" else "#region"
    records = attach_roi(read_data(zipper, "auto"))
    drawn = attach_roi(read_data(zipper, f"{out}{labels}"))
    with DecodedCache(records, (64, 64)) as expected, DecodedCache(drawn, (64, 64)) as found:
        assert np.array_equal(found.roi_masks, expected.roi_masks)
        assert found.labels.tolist() == expected.labels.tolist() and found.places == expected.places
    assert main(["check", str(zipper), "--roi", f"{out}{labels}"]) == 0
    assert "Nothing here would break training" in capsys.readouterr().out


@pytest.mark.parametrize("to", FORMATS)
def test_there_and_back(zipper: Path, tmp_path: Path, to: str) -> None:
    there, back = tmp_path / f"there{ENDINGS.get(to, '')}", tmp_path / "back"
    convert(str(zipper / "ground_truth"), there, to, label="defect")
    # Ground truth lies in other folders than the photographs, so the sizes come from the masks.
    convert(str(there), back, "masks", images=zipper / "ground_truth")
    masks = sorted(path.relative_to(back) for path in back.rglob("*.png"))
    assert len(masks) == 6
    for mask in masks:
        assert np.array_equal(read_mask(back / mask), read_mask(zipper / "ground_truth" / mask))


def test_fewer_points_where_asked(zipper: Path, tmp_path: Path) -> None:
    exact = convert(str(zipper / "roi"), tmp_path / "a", "labelme")
    rough = convert(str(zipper / "roi"), tmp_path / "b", "labelme", tolerance=1.5)

    def points(found: Annotations) -> int:
        return sum(
            len(ring) for one in found.images for shape in one.shapes for ring in getattr(shape, "rings", ())
        )

    assert points(rough) < points(exact) / 2


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["nowhere", "out.json", "--to", "coco"], "nowhere"),
        (["roi", "out", "--to", "coco"], "call it out.json"),
        (["roi", "roi", "--to", "yolo"], "not empty"),
        (["roi#a", "out", "--to", "yolo"], "no label 'a'"),
        (["train", "roi/x.png/out", "--to", "yolo"], "cannot be written"),
        (["empty", "out", "--to", "yolo"], "no annotations and no masks"),
        (["fractions", "out", "--to", "labelme"], "pass the photographs with --images"),
        (["fractions", "out", "--to", "labelme", "--images", "empty"], "no photograph a"),
        (["roi", "out", "--to", "svg"], "svg"),
        (["roi", "out", "--to", "yolo", "--tolerance", "-1"], "--tolerance"),
        (["twins", "out", "--to", "yolo"], "would both be called"),
    ],
)
def test_faults_of_converting_are_one_line(
    tmp_path: Path,
    words: list[str],
    fault: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image("roi/x.png", np.eye(8, dtype=np.uint8))
    write_image("train/x.png", np.eye(8, dtype=np.uint8))
    for name in ("twins/x.png", "twins/x.bmp"):
        write_image(name, np.eye(8, dtype=np.uint8))
    Path("empty").mkdir()
    Path("fractions").mkdir()
    Path("fractions/a.txt").write_text("0 0 0 1 0 1 1\n")
    assert main(["roi", "convert", *words]) == 2
    told = capsys.readouterr().err
    assert fault in told and told.count("\n") == 1
    assert not Path("out").exists() and not Path("out.json").exists()
    assert not [path for path in tmp_path.rglob(".*")]


class Names:
    """A format of its own: the images' names, and a square in each."""

    SUFFIX, IS_ONE_FILE = ".json", True

    def read_file(self, file: AnnotationFile) -> Annotations | None:
        if file.json is None or not isinstance(file.json.value, dict) or "names" not in file.json.value:
            return None
        square = Polygon("roi", (((1.0, 1.0), (3.0, 1.0), (3.0, 3.0)),))
        return Annotations(
            tuple(ImageShapes(name.text(), (6, 8), (square,)) for name in file.json.at("names").entries())
        )

    def write_files(self, annotations: Annotations) -> dict[str, str]:
        return {"": json.dumps({"names": [drawing.name for drawing in annotations.images]})}


def test_a_format_is_a_row_in_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "names", Names())
    (tmp_path / "in.json").write_text('{"names": ["a.png", "b.png"]}')
    convert_to = ["roi", "convert", str(tmp_path / "in.json")]
    assert main([*convert_to, str(tmp_path / "out.json"), "--to", "names"]) == 0
    assert json.loads((tmp_path / "out.json").read_text()) == {"names": ["a.png", "b.png"]}
    assert main([*convert_to, str(tmp_path / "masks"), "--to", "masks"]) == 0
    assert read_mask(tmp_path / "masks" / "b.png").any()


def test_the_commands_of_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[3] / "docs/annotations.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("roinspect ")]
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if words[0] == "synth":
            words += ["--count", "20", "--size", "64"]
        assert main(words) == 0, line
    assert len(lines) > 5


def test_records_are_values(tree: Path) -> None:
    record = replace(read_records(tree)[0], mask_path=DrawnMask(tree / "x.json", "a", frozenset({"b"})))
    assert hash(record) == hash(replace(record)) and str(record.mask_path) == f"{tree / 'x.json'} (a)"


@pytest.mark.parametrize(
    ("names", "keys", "expected"),
    [
        # What Label Studio makes of an upload's name, on either system.
        (["images/8ab12cd0-a.png"], ["train/a.png"], {"train/a.png": "images/8ab12cd0-a.png"}),
        (["x/upload/4/8ab12cd0-a.png"], ["good/a.jpg"], {"good/a.jpg": "x/upload/4/8ab12cd0-a.png"}),
        # A photograph may be called so.
        (["8ab12cd0-a.png"], ["x/8ab12cd0-a.png", "x/a.png"], {"x/8ab12cd0-a.png": "8ab12cd0-a.png"}),
        (["a.png", "8ab12cd0-a.png"], ["good/a.png"], {"good/a.png": "a.png"}),
        # A text file's name may end like an image's.
        (["a.webp"], ["good/a.webp.jpg"], {"good/a.webp.jpg": "a.webp"}),
        (["a.webp"], ["good/a.jpg"], {"good/a.jpg": "a.webp"}),
        (["8ab12cd0-a.webp"], ["good/a.webp.jpg"], {"good/a.webp.jpg": "8ab12cd0-a.webp"}),
        # A split has one name, however a tool spells it.
        (["Train/a.png", "Validation/a.png"], ["train/a.png", "val/a.png"],
         {"train/a.png": "Train/a.png", "val/a.png": "Validation/a.png"}),
        (["8ab12cd-a.png", "8AB12CD0-a.png"], ["good/a.png"], {}),
    ],
)  # fmt: skip
def test_names_that_tools_make_of_an_images(
    names: list[str], keys: list[str], expected: dict[str, str]
) -> None:
    assert match(names, keys, lambda: keys, where="f") == expected


def test_two_uploads_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"may mean a.png"):
        match(["images/8ab12cd0-a.png", "images/8ab12cd1-a.png"], ["x/a.png"], lambda: ["x/a.png"], where="f")
    with pytest.raises(UserError, match=r"fits x/a.png as well as y/a.png"):
        match(["images/8ab12cd0-a.png"], ["x/a.png", "y/a.png"], lambda: ["x/a.png", "y/a.png"], where="f")


def test_a_label_with_a_comma_is_chosen_in_quotes(tmp_path: Path) -> None:
    square = Polygon("scratch, deep", (((1.0, 1.0), (5.0, 1.0), (5.0, 5.0)),))
    (tmp_path / "x.json").write_text(labelme.write(ImageShapes("a.png", (6, 8), (square,))))
    path, labels = split_labels(f'{tmp_path / "x.json"}#"scratch, deep",dent')
    assert labels == {"scratch, deep", "dent"}
    with pytest.raises(UserError, match=r"has no label 'dent'.*it has .scratch, deep."):
        drawn_in_file(Path(path), labels, ["a.png"], list, empty=False)
    assert drawn_in_file(Path(path), frozenset({"scratch, deep"}), ["a.png"], list, empty=False)


def test_a_size_before_exif_turned_it_is_named_as_the_reason(tmp_path: Path) -> None:
    square = Polygon("a", (((1.0, 1.0), (5.0, 1.0), (5.0, 5.0)),))
    (tmp_path / "x.json").write_text(labelme.write(ImageShapes("a.png", (48, 64), (square,))))
    with pytest.raises(UserError, match=r"transposed size of the image's 64x48.*EXIF"):
        DrawnMask(tmp_path / "x.json").pixels((64, 48))
    with pytest.raises(UserError, match="another aspect"):
        DrawnMask(tmp_path / "x.json").pixels((64, 64))
