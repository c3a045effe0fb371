"""A small folder of photographs in the studio."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np
import pytest

from roinspect.images.pixels import write_image
from roinspect.studio.state.project import Project, Projects

PATIENCE_MS = 90_000
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
        return Projects(None, confined_to=None, recent_file=tmp_path / "recent.json").open(str(folder))

    return make


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A studio in a process of its own, which knows of no folder yet."""
    pytest.importorskip("gradio")
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "XDG_CONFIG_HOME": str(home), "GRADIO_TEMP_DIR": str(home / "gradio")}
    # The folder browser begins here.
    environment["HOME"] = str(tmp_path_factory.getbasetemp())
    words = [sys.executable, "-m", "roinspect", "studio", "--port", "0"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        yield found[0]
        process.terminate()


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    """A browser that reaches this machine alone; what it asked of others is noted."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as running:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = running.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.asked_elsewhere, page.faults = [], []
        page.route(
            lambda url: not url.startswith((address, "data:", "blob:")),
            lambda route: (page.asked_elsewhere.append(route.request.url), route.abort()),
        )
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        yield page
        browser.close()


def ready(page: Any, path: str) -> None:
    """Wait until this page of the studio knows its folder; a person can do nothing before either."""
    page.wait_for_url(lambda url: urlsplit(url).path == path)
    page.locator("main[data-loading='0']").wait_for()
