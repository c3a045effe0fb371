"""HTTP routes for what people take along: reports, tables of verdicts, and models for the line."""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from roinspect.evaluation.evaluate import REPORT
from roinspect.evaluation.report import signed
from roinspect.studio.pages.camera import camera_verdicts
from roinspect.studio.pages.verdicts import verdicts_csv
from roinspect.studio.state.jobs import latest
from roinspect.studio.state.line_kit import line_kit
from roinspect.studio.state.project import NotYetError, Projects
from roinspect.studio.state.recipes import recipe
from roinspect.studio.state.trained_models import evaluation_path, model_path


def add_downloads(app: FastAPI, projects: Projects) -> None:
    """Add the routes below /studio/."""

    @app.get("/studio/report")
    def report(project: str, model: str, save: bool = False) -> Any:
        """The report of a model's last evaluation; with `save`, as a file."""
        opened = projects.get(project)
        path = model_path(opened, model)
        try:
            written = (evaluation_path(path) / REPORT).read_text(encoding="utf-8")
        except OSError:
            raise NotYetError(f"{path.name} was not judged yet", remedy="judge it on page 4, Judge") from None
        known = recipe(opened, path.name)
        page = signed(written, product=known.product, operator=known.operator)
        name = f"{path.name}-report-{time.strftime('%Y-%m-%d')}.html"
        return HTMLResponse(page, headers=_head(name if save else ""))

    @app.get("/studio/verdicts.csv")
    def verdicts(project: str) -> Any:
        """The verdicts of the camera's folder that is or was followed last."""
        watch = latest(projects.get(project), "watch")
        table = verdicts_csv(camera_verdicts(watch) if watch else [])
        name = f"{watch.subject if watch else 'camera'}-verdicts.csv"
        return Response(table, media_type="text/csv", headers=_head(name))

    @app.get("/studio/model.zip")
    def kit(project: str, model: str) -> Any:
        path = model_path(projects.get(project), model)
        return Response(line_kit(path), media_type="application/zip", headers=_head(f"{path.name}.zip"))


def _head(name: str) -> dict[str, str]:
    """Headers of an answer that is not kept, and is saved as a file of this name, if any."""
    saved = {"Content-Disposition": f'attachment; filename="{name}"'} if name else {}
    return {"Cache-Control": "no-store"} | saved
