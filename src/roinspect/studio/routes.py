"""HTTP routes beside Gradio's: images and drawings. No request names a path.

A photograph is named by its folder's id and its key, and is only read if the folder lists that key.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse, Response

from roinspect.errors import UserError
from roinspect.images.pixels import image_size
from roinspect.studio.downloads import add_downloads
from roinspect.studio.page_images import STATIC, UNREADABLE, crop, jpeg, photograph, thumbnail, veiled
from roinspect.studio.pages.elements import PER_PAGE, page_of
from roinspect.studio.state.drawing import read_drawing
from roinspect.studio.state.outline import outline
from roinspect.studio.state.project import Projects
from roinspect.studio.state.proposals import least_confidence
from roinspect.studio.state.regions import accept, mask_of, region, save_drawing, share, source_of
from roinspect.studio.state.training import smallest_defects

SERVED = {
    "studio.css": ("text/css", ("studio.css", "board.css")),
    "studio.js": ("text/javascript", ("links.js", "enlarge.js", "canvas.js", "hands.js", "paint.js")),
}
"""Name to media type and source files."""
NOT_KEPT = {"Cache-Control": "no-store"}


def add_routes(app: FastAPI, projects: Projects) -> None:
    """Add the routes below /studio/; errors are answered with a message for the page."""

    @app.exception_handler(UserError)
    def refused(_: Request, error: UserError) -> Response:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(OSError)
    def failed(_: Request, error: OSError) -> Response:
        return JSONResponse({"error": f"the disk answers: {error.strerror or error}; try again"}, 507)

    @app.get("/studio/static/{name}")
    def static(name: str) -> Response:
        if name not in SERVED:
            return JSONResponse({"error": "no such file"}, 404)
        kind, files = SERVED[name]
        content = b"".join((STATIC / file).read_bytes() for file in files)
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    @app.get("/studio/photographs")
    def photographs(project: str, page: int = 0, only: str = "all") -> Any:
        opened = projects.get(project)
        # Photographs for training first, good ones before defective ones.
        records = sorted(opened.records().values(), key=lambda r: (r.split == "test", r.label == 1))
        confidences, least = opened.confidences(), least_confidence(opened)
        if only == "undrawn":
            records = [record for record in records if source_of(opened, record) == "none"]
        if only == "doubtful":
            records = sorted(
                (record for record in records if source_of(opened, record) == "proposed"),
                key=lambda record: confidences[record.key],
            )
        at, shown, _ = page_of(records, page)
        listed = [
            {
                "key": record.key,
                "source": source_of(opened, record),
                "confidence": confidences.get(record.key),
                "is_doubtful": confidences.get(record.key, 1.0) < least,
            }
            for record in shown
        ]
        pages = max(1, -(-len(records) // PER_PAGE))
        return {"total": len(records), "page": at, "pages": pages, "photographs": listed}

    @app.get("/studio/thumbnail")
    def small(project: str, key: str, region_of: str = "") -> Response:
        """With `region_of`, a cache key for the region's state, the area outside the region is dark."""
        try:
            opened = projects.get(project)
            content = thumbnail(opened.photograph(key))
            if region_of:
                mask, _ = mask_of(opened, opened.record(key))
                content = content if mask is None else veiled(content, mask)
        except UserError:
            return Response(UNREADABLE, media_type="image/svg+xml", headers=NOT_KEPT)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})

    @app.get("/studio/image")
    def image(project: str, key: str, box: str = "") -> Any:
        """With `box`, "left,top,right,bottom", that part of the photograph as sharp as it is."""
        path = projects.get(project).record(key).image_path
        numbers = [int(number) for number in box.split(",") if number.isdigit()]
        if len(numbers) == 4:
            left, top, right, bottom = numbers
            content = crop(path, (left, top, right, bottom))
        else:
            content = jpeg(photograph(path))
        return Response(content, media_type="image/jpeg", headers=NOT_KEPT)

    @app.get("/studio/drawing")
    def drawing(project: str, key: str) -> Any:
        opened = projects.get(project)
        shown = region(opened, key)
        widths = smallest_defects(shown.drawing.size_hw)
        return {**shown.drawing.to_json(), "source": shown.source, "smallest": widths}

    @app.post("/studio/outline")
    def find_outline(project: str, key: str, sent: Annotated[Any, Body()]) -> Any:
        """The outline of a part, from one point (x, y) on it or two opposite corners of a box around it."""
        opened = projects.get(project)
        image = photograph(opened.record(key).image_path)
        (pressed,) = read_drawing({"shapes": [{"kind": "polygon", "points": sent}]}, image.shape[:2]).shapes
        return outline(image, pressed.points_xy[:2]).to_json()

    @app.post("/studio/accept")
    def accept_proposals(project: str, key: str = "") -> Any:
        """Accept the proposal of one photograph, or of all."""
        opened = projects.get(project)
        return {"accepted": accept(opened, [key] if key else list(opened.confidences()))}

    @app.put("/studio/drawing")
    def draw(project: str, key: str, sent: Annotated[Any, Body()]) -> Any:
        opened = projects.get(project)
        drawn = read_drawing(sent, image_size(opened.record(key).image_path))
        save_drawing(opened, key, drawn)
        return {}

    @app.post("/studio/share")
    def use_for_all(project: str, key: str) -> Any:
        opened = projects.get(project)
        share(opened, key)
        return {"photographs": len(opened.records())}

    add_downloads(app, projects)
