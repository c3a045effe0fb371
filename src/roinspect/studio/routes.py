"""What the pages ask for besides Gradio's own: pictures, drawings and downloads. No request names a path.

A photograph is named by its folder's id and its key, and is only read where that key is in the folder's list.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse, Response

from roinspect.data.records import Record
from roinspect.errors import UserError
from roinspect.images.pixels import image_size, read_image
from roinspect.studio.pictures import STATIC, UNREADABLE, jpeg, thumbnail, veiled
from roinspect.studio.state.drawing import read_drawing
from roinspect.studio.state.models import model_path
from roinspect.studio.state.project import Project, Projects
from roinspect.studio.state.proposals import confidences
from roinspect.studio.state.regions import keep, mask_of, region, share, source_of

SERVED = {
    "studio.css": ("text/css", ("studio.css",)),
    "board.js": ("text/javascript", ("canvas.js", "paint.js")),
}
"""Name to its type and the files that it is made of."""
PER_PAGE = 24
NOT_KEPT = {"Cache-Control": "no-store"}


def add_routes(app: FastAPI, projects: Projects) -> None:
    """Add the routes below /studio/."""

    @app.get("/studio/static/{name}")
    def static(name: str) -> Response:
        if name not in SERVED:
            return JSONResponse({"error": "no such file"}, 404)
        kind, files = SERVED[name]
        content = b"".join((STATIC / file).read_bytes() for file in files)
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    @app.get("/studio/current")
    @_told
    def current(project: str = "") -> Any:
        return {"project": projects.shown().id}

    @app.get("/studio/photographs")
    @_told
    def photographs(project: str, page: int = 0, only: str = "all") -> Any:
        opened = projects.get(project)
        # First those that training looks at, good ones before all.
        records = sorted(opened.records().values(), key=lambda one: (one.split == "test", one.label == 1))
        sure = confidences(opened)
        if only == "undrawn":
            records = [record for record in records if source_of(opened, record) == "none"]
        if only == "doubtful":
            records = sorted((r for r in records if r.key in sure), key=lambda record: sure[record.key])
        first = PER_PAGE * max(0, min(page, (len(records) - 1) // PER_PAGE))
        return {
            "total": len(records),
            "page": first // PER_PAGE,
            "pages": max(1, -(-len(records) // PER_PAGE)),
            "photographs": [_told_of(opened, record, sure) for record in records[first : first + PER_PAGE]],
        }

    def _told_of(opened: Project, record: Record, sure: Mapping[str, float]) -> dict[str, Any]:
        source = source_of(opened, record)
        is_proposed = source == "file" and record.key in sure
        told = {"key": record.key, "source": "proposed" if is_proposed else source}
        return {**told, "confidence": sure[record.key]} if is_proposed else told

    @app.get("/studio/thumbnail")
    def small(project: str, key: str, region_of: str = "") -> Response:
        """With any `region_of`, which names its state for the browser's cache, what is ignored is dark."""
        try:
            opened = projects.get(project)
            content = thumbnail(opened.record(key).image_path)
            if region_of:
                mask, _ = mask_of(opened, opened.record(key))
                content = content if mask is None else veiled(content, mask)
        except UserError:
            return Response(UNREADABLE, media_type="image/svg+xml", headers=NOT_KEPT)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})

    @app.get("/studio/image")
    @_told
    def image(project: str, key: str) -> Any:
        content = jpeg(read_image(projects.get(project).record(key).image_path))
        return Response(content, media_type="image/jpeg", headers=NOT_KEPT)

    @app.get("/studio/drawing")
    @_told
    def drawing(project: str, key: str) -> Any:
        opened = projects.get(project)
        found = region(opened, key)
        is_proposed = found.source == "file" and key in confidences(opened)
        source = "proposed" if is_proposed else found.source
        return {**found.drawing.to_json(), "source": source, "revision": found.revision}

    @app.put("/studio/drawing")
    @_told
    def draw(project: str, key: str, sent: Annotated[Any, Body()]) -> Any:
        opened = projects.get(project)
        drawn = read_drawing(sent, image_size(opened.record(key).image_path))
        revision, is_changed = keep(opened, key, drawn, str(sent.get("revision", "")))
        return {"revision": revision, "changed_elsewhere": is_changed}

    @app.post("/studio/share")
    @_told
    def use_for_all(project: str, key: str) -> Any:
        opened = projects.get(project)
        share(opened, key)
        return {"photographs": len(opened.records())}

    @app.get("/studio/model.zip")
    @_told
    def download(project: str, model: str) -> Any:
        content = io.BytesIO()
        path = model_path(projects.get(project), model)
        with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    archive.write(file, Path(path.name) / file.relative_to(path))
        head = {"Content-Disposition": f'attachment; filename="{path.name}.zip"', "Cache-Control": "no-store"}
        return Response(content.getvalue(), media_type="application/zip", headers=head)


def _told(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Faults as JSON that the page can show."""

    @wraps(answer)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return answer(*args, **kwargs)
        except UserError as error:
            return JSONResponse({"error": str(error)}, 422)
        except OSError as error:
            return JSONResponse({"error": f"the disk answers: {error.strerror or error}; try again"}, 507)

    return told
