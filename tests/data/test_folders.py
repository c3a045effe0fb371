"""Every layout of a public data set gives each defect its mask, and no mask is a photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roinspect.data.dataset import load_sample
from roinspect.data.records import Record, read_records, refuse_unknown_good
from roinspect.errors import UserError
from roinspect.images.pixels import write_image

EMPTY = np.zeros((12, 16), np.uint8)
MARKED = EMPTY.copy()
MARKED[2:5, 3:9] = 255
OTHER = EMPTY.copy()
OTHER[8:10, 1:4] = 255


def photographs(root: Path, *names: str) -> None:
    for place, name in enumerate(names):
        rng = np.random.default_rng(place)
        write_image(root / name, rng.integers(0, 256, (12, 16, 3), np.uint8))


def masks(root: Path, *names: str, mask: np.ndarray = MARKED) -> None:  # type: ignore[type-arg]
    for name in names:
        write_image(root / name, mask)


def facts(records: list[Record]) -> list[tuple[str, str, int | None, bool]]:
    return [(r.key, r.split, r.label, r.mask_path is not None) for r in records]


def marked(record: Record) -> int:
    return int(load_sample(record, None).gt_mask.sum())


def test_mvtec_loco_and_autovi_have_masks_in_pieces(tmp_path: Path) -> None:
    photographs(
        tmp_path, "train/good/000.png", "test/good/000.png", "test/logical/000.png", "test/logical/001.png"
    )
    masks(tmp_path, "ground_truth/logical/000/000.png", "ground_truth/logical/001/000.png")
    masks(tmp_path, "ground_truth/logical/000/001.png", mask=OTHER)
    one, other = [record for record in read_records(tmp_path) if record.label == 1]
    assert (marked(one), marked(other)) == (18 + 6, 18)


def test_a_piece_of_another_size_is_named(tmp_path: Path) -> None:
    photographs(tmp_path, "train/good/000.png", "test/logical/000.png")
    masks(tmp_path, "ground_truth/logical/000/000.png")
    masks(tmp_path, "ground_truth/logical/000/001.png", mask=MARKED[1:])
    (record,) = [record for record in read_records(tmp_path) if record.label == 1]
    with pytest.raises(UserError, match=r"001\.png: is 11x16"):
        load_sample(record, None)


def test_mvtec_ad_2_has_its_masks_below_the_split(tmp_path: Path) -> None:
    photographs(tmp_path, "train/good/0_regular.png", "validation/good/0_regular.png")
    photographs(
        tmp_path, "test_public/good/0_regular.png", "test_public/bad/0_regular.png", "test_private/0.png"
    )
    masks(tmp_path, "test_public/ground_truth/bad/0_regular_mask.png")
    assert facts(read_records(tmp_path)) == [
        ("test_public/bad/0_regular.png", "test", 1, True),
        ("test_public/good/0_regular.png", "test", 0, False),
        ("train/good/0_regular.png", "train", 0, False),
        ("validation/good/0_regular.png", "val", 0, False),
    ]


def test_valid_is_val(tmp_path: Path) -> None:
    photographs(tmp_path, "train/good/0.png", "valid/good/0.png", "Valid2/good/0.png")
    assert [(r.key, r.split) for r in read_records(tmp_path)] == [
        ("train/good/0.png", "train"),
        ("valid/good/0.png", "val"),
    ]


def test_bmad_has_photographs_and_masks_in_folders_of_a_category(tmp_path: Path) -> None:
    photographs(
        tmp_path, "train/good/0.png", "valid/good/img/0.png", "test/good/img/0.png", "test/Ungood/img/0.png"
    )
    masks(tmp_path, "test/Ungood/label/0.png")
    masks(tmp_path, "valid/good/label/0.png", "test/good/label/0.png", mask=EMPTY)
    assert facts(read_records(tmp_path)) == [
        ("test/Ungood/img/0.png", "test", 1, True),
        ("test/good/img/0.png", "test", 0, True),
        ("train/good/0.png", "train", 0, False),
        ("valid/good/img/0.png", "val", 0, True),
    ]


def test_a_kind_of_defect_may_be_called_label(tmp_path: Path) -> None:
    photographs(tmp_path, "good/0.png", "label/0.png", "label/deep/label/1.png")
    assert [r.label for r in read_records(tmp_path)] == [0, 1, 1]


def test_anomalibs_folder(tmp_path: Path) -> None:
    photographs(
        tmp_path, *(f"{folder}/{n}.png" for folder in ("normal", "abnormal", "normal_test") for n in (0, 1))
    )
    masks(tmp_path, "mask/0.png", "mask/1_mask.png")
    assert facts(read_records(tmp_path)) == [
        ("abnormal/0.png", "train", 1, True),
        ("abnormal/1.png", "train", 1, True),
        ("normal/0.png", "train", 0, False),
        ("normal/1.png", "train", 0, False),
        ("normal_test/0.png", "test", 0, False),
        ("normal_test/1.png", "test", 0, False),
    ]


def test_a_mask_without_folder_that_may_be_of_two_is_of_none(tmp_path: Path) -> None:
    photographs(tmp_path, "good/0.png", "crack/0.png", "hole/0.png")
    masks(tmp_path, "mask/0.png")
    assert all(record.mask_path is None for record in read_records(tmp_path))


@pytest.mark.parametrize("good", ["MT_Free/Imgs", "good"])
def test_a_mask_of_the_photographs_name_beside_it(tmp_path: Path, good: str) -> None:
    photographs(tmp_path, f"{good}/0.jpg", "MT_Crack/Imgs/0.jpg", "MT_Crack/Imgs/1.jpg")
    masks(tmp_path, "MT_Crack/Imgs/0.png", "MT_Crack/Imgs/1.png")
    masks(tmp_path, f"{good}/0.png", mask=EMPTY)
    assert facts(read_records(tmp_path)) == [
        ("MT_Crack/Imgs/0.jpg", "train", 1, True),
        ("MT_Crack/Imgs/1.jpg", "train", 1, True),
        (f"{good}/0.jpg", "train", 0, True),
    ]


def test_real_iad_has_masks_beside_the_photographs_of_ng(tmp_path: Path) -> None:
    photographs(tmp_path, "OK/S0001/a_C1.jpg", "NG/AK/S0002/b_C1.jpg")
    masks(tmp_path, "NG/AK/S0002/b_C1.png")
    assert facts(read_records(tmp_path)) == [
        ("NG/AK/S0002/b_C1.jpg", "train", 1, True),
        ("OK/S0001/a_C1.jpg", "train", 0, False),
    ]


def test_two_photographs_of_one_name_stay_photographs(tmp_path: Path) -> None:
    photographs(tmp_path, "good/0.jpg", "good/0.png")
    assert len(read_records(tmp_path)) == 2


def test_kolektor_sdd_is_labelled_by_its_masks(tmp_path: Path) -> None:
    photographs(tmp_path, "kos01/Part0.jpg", "kos01/Part1.jpg", "kos02/Part0.jpg")
    masks(tmp_path, "kos01/Part1_label.bmp")
    masks(tmp_path, "kos01/Part0_label.bmp", "kos02/Part0_label.bmp", mask=EMPTY)
    assert facts(read_records(tmp_path)) == [
        ("kos01/Part0.jpg", "train", 0, True),
        ("kos01/Part1.jpg", "train", 1, True),
        ("kos02/Part0.jpg", "train", 0, True),
    ]


def test_kolektor_sdd_2_has_no_categories(tmp_path: Path) -> None:
    photographs(tmp_path, "train/10000.png", "train/10001.png", "test/20000.png")
    masks(tmp_path, "train/10001_GT.png")
    masks(tmp_path, "train/10000_GT.png", "test/20000_GT.png", mask=EMPTY)
    found = read_records(tmp_path)
    assert [(r.key, r.label, r.category) for r in found] == [
        ("test/20000.png", 0, "good"),
        ("train/10000.png", 0, "good"),
        ("train/10001.png", 1, "defective"),
    ]


def test_one_photograph_without_mask_and_category_is_refused(tmp_path: Path) -> None:
    photographs(tmp_path, "train/10000.png", "train/10001.png", "test/good/0.png")
    masks(tmp_path, "train/10001_GT.png")
    with pytest.raises(UserError, match="outside any category"):
        read_records(tmp_path)


def test_masks_beside_a_named_defect_leave_its_label(tmp_path: Path) -> None:
    photographs(tmp_path, "good/0.jpg", "scratch/0.jpg", "scratch/1.jpg")
    masks(tmp_path, "scratch/0_label.png")
    masks(tmp_path, "scratch/1_label.png", mask=EMPTY)
    assert [(r.label, r.mask_path is not None) for r in read_records(tmp_path)] == [
        (0, False),
        (1, True),
        (1, True),
    ]


def test_a_photograph_that_is_called_like_a_mask(tmp_path: Path) -> None:
    photographs(tmp_path, "good/0.png", "crack/a.png", "crack/b_gt.png")
    masks(tmp_path, "ground_truth/crack/b_gt.png", "ground_truth/crack/a.png")
    found = {r.key: r.mask_path for r in read_records(tmp_path)}
    assert found["crack/b_gt.png"] == tmp_path / "ground_truth/crack/b_gt.png"
    assert found["crack/a.png"] == tmp_path / "ground_truth/crack/a.png"


def test_two_masks_beside_a_photograph_are_refused(tmp_path: Path) -> None:
    photographs(tmp_path, "good/0.png", "crack/a.png")
    masks(tmp_path, "crack/a_mask.png", "crack/a_label.png")
    with pytest.raises(UserError, match="same image"):
        read_records(tmp_path)


def visa_splits(root: Path, *rows: str) -> None:
    (root / "split_csv").mkdir(exist_ok=True)
    text = "".join(f"{row}\n" for row in ("object,split,label,image,mask", *rows))
    (root / "split_csv/1cls.csv").write_text(text)


def test_visa_has_its_splits_in_a_file_beside_the_products(tmp_path: Path) -> None:
    images, drawn = "candle/Data/Images", "candle/Data/Masks/Anomaly"
    names = [f"{images}/Normal/{number:04d}.JPG" for number in range(4)]
    photographs(tmp_path, *names, f"{images}/Anomaly/000.JPG", f"{images}/Anomaly/001.JPG")
    # A mask has a number for each kind of defect.
    masks(tmp_path, f"{drawn}/000.png", f"{drawn}/001.png", mask=(MARKED > 0).astype(np.uint8) * 3)
    product = tmp_path / "candle"
    assert {record.split for record in read_records(product)} == {"train"}
    visa_splits(
        tmp_path,
        *(f"candle,{'train' if n < 2 else 'test'},normal,{name}," for n, name in enumerate(names[:3])),
        f"candle,test,anomaly,{images}/Anomaly/000.JPG,{drawn}/000.png",
        f"candle,test,anomaly,{images}/Anomaly/001.JPG,{drawn}/001.png",
        "capsules,train,normal,capsules/Data/Images/Normal/000.JPG,",
    )
    found = read_records(product)
    # The file does not name 0003.
    assert facts(found) == [
        ("Data/Images/Anomaly/000.JPG", "test", 1, True),
        ("Data/Images/Anomaly/001.JPG", "test", 1, True),
        ("Data/Images/Normal/0000.JPG", "train", 0, False),
        ("Data/Images/Normal/0001.JPG", "train", 0, False),
        ("Data/Images/Normal/0002.JPG", "test", 0, False),
    ]
    assert marked(found[0]) == 18
    linked = tmp_path / "link"
    linked.mkdir()
    (linked / "candle").symlink_to(product)
    (linked / "split_csv").symlink_to(tmp_path / "split_csv")
    assert len(read_records(linked / "candle")) == 5


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["capsules,train,normal,capsules/Data/Images/Normal/0.JPG,"], "names no photograph of candle"),
        (["candle,tset,normal,candle/Data/Images/Normal/0.JPG,"], r"line 2: unknown split 'tset'"),
        (["candle,train"], r"line 2: the line has not all of object, split, image"),
    ],
)
def test_a_split_file_that_does_not_fit(tmp_path: Path, rows: list[str], words: str) -> None:
    photographs(tmp_path, "candle/Data/Images/Normal/0.JPG")
    visa_splits(tmp_path, *rows)
    with pytest.raises(UserError, match=words):
        read_records(tmp_path / "candle")


def test_visa_converted_to_mvtecs_layout(tmp_path: Path) -> None:
    photographs(tmp_path, "train/good/0000.JPG", "test/good/0001.JPG", "test/bad/000.JPG")
    masks(tmp_path, "ground_truth/bad/000.png")
    assert [(record.split, record.label) for record in read_records(tmp_path)] == [
        ("test", 1),
        ("test", 0),
        ("train", 0),
    ]


def test_good_folders_can_be_named(tmp_path: Path) -> None:
    photographs(tmp_path, "Gut/0.png", "Riss/0.png")
    found = read_records(tmp_path, good=["gut"])
    assert [r.label for r in found] == [0, 1]
    refuse_unknown_good(found, ["Gut"])
    with pytest.raises(UserError, match=r"'Gtu'.*Gut, Riss"):
        refuse_unknown_good(found, ["Gut", "Gtu"])
