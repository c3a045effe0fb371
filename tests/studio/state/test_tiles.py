"""The smallest defect that is found is known before training, and tiles are offered for smaller ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch")

from roinspect.errors import UserError
from roinspect.images.pixels import write_image
from roinspect.studio.state.project import Project
from roinspect.studio.state.training import Wish, begin_training, smallest_defects


def test_the_smallest_defect_follows_from_the_size() -> None:
    found = smallest_defects((3000, 4000))
    assert (
        44 < found["fine"] < 50 and found["tiles"] == 5 and found["quick"] > found["normal"] > found["fine"]
    )
    assert smallest_defects((64, 64))["quick"] == 5


def test_training_on_tiles_is_a_choice(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = list[list[str]]()
    monkeypatch.setattr(
        "roinspect.studio.state.training.start", lambda *given: commands.extend(given[3]) or given
    )
    small = make_project()
    wish = Wish("roibank", "m-1", detail="tiles", uses_region=False)
    with pytest.raises(UserError, match="too small for tiles"):
        begin_training(small, wish)
    large = make_project("train/good/a.png", "train/good/b.png", name="large")
    write_image(large.folder / "train/good/a.png", np.zeros((200, 300, 3), np.uint8))
    begin_training(large, wish)
    train = commands[0]
    assert train[train.index("--tile") + 1] == "192"
