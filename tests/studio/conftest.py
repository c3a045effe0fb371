"""A small folder of photographs in the studio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from roinspect.images.pixels import write_image
from roinspect.studio.state.project import Project, Projects

MakeProject: TypeAlias = Callable[..., Project]


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """A folder with these photographs, each of its own content, 24 x 32 pixels."""

    def make(*keys: str, name: str = "parts") -> Project:
        rng = np.random.default_rng(0)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for key in keys or ("train/good/a.png", "train/good/b.png", "test/good/c.png", "test/dent/d.png"):
            write_image(folder / key, rng.integers(0, 255, (24, 32, 3), np.uint8))
        return Projects(folder, confined_to=None, recent_file=tmp_path / "recent.json").shown()

    return make


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project()
