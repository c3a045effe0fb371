"""The notebook runs from top to bottom, shows what it claims, and is kept with its outputs, small."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("ipykernel")
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs/notebooks/ceod_in_your_own_loop.ipynb"


def test_it_runs_and_ceod_looks_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # An assertion in its last cell holds CEOD to finding more, and looking inside more, than cross-entropy.
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "assert accuracy" in notebook.cells[-1].source


def test_it_is_kept_with_its_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert any("test accuracy" in output.get("text", "") for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)
    assert NOTEBOOK.stat().st_size < 250_000
