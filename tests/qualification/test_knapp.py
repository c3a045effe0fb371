"""The Knapp test on figures counted by hand; the definitions are those of Knapp and Kushner (1980)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from roinspect.qualification.knapp import Knapp, knapp


def run(manual: list[int], machine: list[int], looks: int = 10) -> Knapp:
    return knapp(
        np.array(manual) / looks,
        np.array(machine) / looks,
        fewest_manual_looks=looks,
        fewest_machine_looks=looks,
    )


def test_the_efficiencies_are_those_counted_by_hand() -> None:
    # Ten looks each. Reject zone: 7, 8, 10 of 10; grey: 5; accept: 3, 0.
    found = run([7, 8, 10, 5, 3, 0], [9, 9, 10, 0, 1, 2])
    assert (found.in_reject_zone, found.in_grey_zone, found.in_accept_zone) == (3, 1, 2)
    assert found.manual == pytest.approx(25 / 30)
    assert found.machine == pytest.approx(28 / 30)
    assert found.manual_false == pytest.approx(0.15)
    assert found.machine_false == pytest.approx(0.15)
    assert found.is_passed


def test_a_machine_that_rejects_less_fails() -> None:
    assert not run([7, 8, 10, 0], [7, 8, 9, 10]).is_passed


def test_an_equal_machine_passes() -> None:
    assert run([7, 8, 9], [9, 8, 7]).is_passed


def test_shares_at_the_borders_belong_to_the_zones() -> None:
    third = np.array([0.1 + 0.2, 0.7, 1 - 0.3])
    found = knapp(third, third, fewest_manual_looks=10, fewest_machine_looks=1)
    assert (found.in_reject_zone, found.in_accept_zone) == (2, 1)


def test_without_a_reject_zone_nothing_is_passed() -> None:
    found = run([0, 3, 6], [10, 10, 10])
    assert math.isnan(found.manual)
    assert not found.is_passed
