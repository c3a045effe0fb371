"""What is held out is not trained on, near-duplicates stay together, and both kinds are there if possible."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roinspect.data.records import Record
from roinspect.data.splits import hold_out
from roinspect.errors import UserError


def record(key: str, split: str = "train", label: int | None = 0, group: str = "") -> Record:
    return Record(Path(key), split, label, "", group=group, key=key)


def records(
    count: int, *, split: str = "train", label: int | None = 0, group: str = "", name: str = ""
) -> list[Record]:
    return [record(f"{name}{split}{label}{group}{i}", split, label, group) for i in range(count)]


def grouped(**counts: int) -> list[Record]:
    """Groups a to f with so many good and defective photographs each."""
    labels = {"good": 0, "defective": 1}
    return [
        one
        for group in "abcdef"
        for name, count in counts.items()
        for one in records(count, label=labels[name], group=group)
    ]


def labels_of(given: list[Record]) -> Counter[int | None]:
    return Counter(one.label for one in given)


# -- whatever is given -------------------------------------------------------------------------------------


@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from(["train", "train", "train", "val"]),
            st.sampled_from([0, 0, 1, None]),
            st.sampled_from(["", "", "a", "b", "c"]),
        ),
        max_size=40,
    ),
    trains_on=st.sampled_from(["good", "all"]),
    share=st.floats(0, 0.99),
    seed=st.integers(0, 5),
)
def test_nothing_held_out_is_trained_on(
    parts: list[tuple[str, int | None, str]], trains_on: str, share: float, seed: int
) -> None:
    given = [record(str(number), *part) for number, part in enumerate(parts)]
    try:
        fitted, held_out = hold_out(given, trains_on, share, seed, Path("parts"))
    except UserError as error:
        assert error.where == "parts" and error.remedy and "\n" not in str(error)
        return
    assert (fitted, held_out) == hold_out(given, trains_on, share, seed, Path("parts"))
    assert not {one.key for one in fitted} & {one.key for one in held_out}
    assert len(fitted) >= 2 and all(one.split == "train" for one in fitted)
    assert None not in labels_of([one for one in held_out if one.split == "val"])
    assert labels_of(held_out)[0] > 0, "a threshold needs good parts"
    from_train = {one.group for one in held_out if one.split == "train" and one.group}
    assert not from_train & {one.group for one in fitted}, "near-duplicates are on one side"
    if trains_on == "good":
        assert set(labels_of(fitted)) == {0}
    else:
        wanted = {one.key for one in given if one.split == "train"}
        assert {one.key for one in fitted} | {one.key for one in held_out} >= wanted, "nothing is lost"


# -- from the train split ----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.8])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_share_is_of_the_good_parts(share: float, seed: int) -> None:
    fitted, held_out = hold_out(records(30) + records(10, label=1), "good", share, seed, Path())
    assert len(held_out) == max(1, round(30 * share)) and len(fitted) + len(held_out) == 30
    assert set(labels_of(fitted + held_out)) == {0}


def test_another_seed_holds_out_other_parts() -> None:
    kept = [hold_out(records(30), "good", 0.15, seed, Path())[1] for seed in (0, 1)]
    assert kept[0] != kept[1]


def test_more_unknown_parts_do_not_change_what_is_held_out() -> None:
    given = records(20) + records(10, label=1)
    _, without = hold_out(given, "all", 0.2, 0, Path())
    _, beside = hold_out(given + records(7, label=None), "all", 0.2, 0, Path())
    assert without == beside


def test_a_method_that_wants_defects_is_given_them() -> None:
    given = records(10) + records(10, label=1) + records(3, label=None)
    fitted, held_out = hold_out(given, "all", 0.2, 0, Path())
    assert len(fitted) == 19 and labels_of(held_out) == {0: 2, 1: 2}


def test_few_defects_are_all_trained_on() -> None:
    fitted, held_out = hold_out(records(20) + records(3, label=1), "all", 0.15, 0, Path())
    assert labels_of(fitted)[1] == 3 and labels_of(held_out) == {0: 3}


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_held_out_with_its_defects(seed: int) -> None:
    fitted, held_out = hold_out(grouped(good=8, defective=3), "all", 0.15, seed, Path())
    assert not {one.group for one in fitted} & {one.group for one in held_out}
    assert labels_of(held_out) == {0: 8, 1: 3}, "one group gives enough of both kinds"


@pytest.mark.parametrize("seed", range(5))
def test_photographs_of_one_group_are_held_out_together(seed: int) -> None:
    fitted, held_out = hold_out(grouped(good=5) + records(5), "good", 0.2, seed, Path())
    assert not {one.group for one in fitted if one.group} & {one.group for one in held_out}
    assert 7 <= len(held_out) <= 11


# -- from the val split ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trains_on", ["good", "all"])
def test_a_val_split_is_used_instead(trains_on: str) -> None:
    given = records(10) + records(4, split="val") + records(3, split="val", label=1)
    given += records(2, split="val", label=None)
    fitted, held_out = hold_out(given, trains_on, 0.15, 0, Path())
    assert len(fitted) == 10 and labels_of(held_out) == {0: 4, 1: 3}


def test_a_val_split_of_defects_alone_is_joined_by_held_out_good_parts() -> None:
    given = records(10) + records(3, split="val", label=1)
    fitted, held_out = hold_out(given, "good", 0.2, 0, Path())
    assert len(fitted) == 8 and labels_of(held_out) == {0: 2, 1: 3}


# -- what cannot be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [[], records(2), records(9, label=1), records(9, group="a")])
def test_too_few_good_photographs_are_refused(given: list[Record]) -> None:
    with pytest.raises(UserError, match="good training images are left"):
        hold_out(given, "good", 0.15, 0, Path("parts"))


@pytest.mark.parametrize("given", [records(9, label=None), records(9, label=1), records(3, label=1)])
def test_without_a_good_label_there_is_no_threshold(given: list[Record]) -> None:
    with pytest.raises(UserError, match=r"parts: none of . training images is labelled good") as caught:
        hold_out(given, "all", 0.15, 0, Path("parts"))
    assert "label" in caught.value.remedy
