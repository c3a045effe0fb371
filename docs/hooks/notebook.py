"""Every notebook in the docs becomes a page: its text, its code, and the outputs that it was saved with."""

from __future__ import annotations

from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add NAME.md for each NAME.ipynb, which stays there to be fetched."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        assert file.abs_src_path is not None
        page = _page(nbformat.read(file.abs_src_path, as_version=4), file.name)
        files.append(File.generated(config, f"{file.src_uri.removesuffix('.ipynb')}.md", content=page))
    return files


def _page(notebook: Any, name: str) -> str:
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts += [f"```python\n{cell.source}\n```", *map(_output, cell.outputs)]
    title, *rest = parts
    return "\n\n".join([title, f"[The notebook itself]({name}.ipynb){{ download }}", *rest])


def _output(output: Any) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f"![output](data:image/png;base64,{data['image/png'].replace(chr(10), '')})"
    text = output.get("text") or data.get("text/plain", "")
    return f"```text\n{text.rstrip()}\n```"
