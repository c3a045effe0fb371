"""The studio as one web application: pages, images and drawings, behind a guard; no network access."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import warnings
import webbrowser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

# Read when Gradio is loaded: no telemetry.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from roinspect.errors import UserError
from roinspect.server.listening import bind, http_address, listen
from roinspect.studio.guard import LOOPBACK, Guard
from roinspect.studio.pages.data import data_page
from roinspect.studio.pages.judge import judge_page
from roinspect.studio.pages.region import region_page
from roinspect.studio.pages.run import run_page
from roinspect.studio.pages.train import train_page
from roinspect.studio.routes import add_routes
from roinspect.studio.state.project import Projects, default_recent_file

HEAD = """<link rel="stylesheet" href="/studio/static/studio.css">
<script src="/studio/static/studio.js"></script>"""
MOST_UPLOADED = "200mb"
ACCENT, ACCENT_DARK = "#0b5cad", "#7db8f0"
"""As --accent in studio.css."""


def create_app(projects: Projects, *, token: str = "") -> ASGIApp:
    """The studio.

    Args:
        projects: the folders that are open.
        token: required where it is not empty; without one, only this machine is served.
    """
    pages = {"Region": region_page, "Train": train_page, "Judge": judge_page, "Run": run_page}
    with gr.Blocks(title="roinspect studio", analytics_enabled=False) as blocks:
        data_page(blocks, projects)
    for name, build in pages.items():
        with blocks.route(name, name.lower(), show_in_navbar=False) as page:
            build(page, projects)
    paths = frozenset({"/", *(f"/{name.lower()}" for name in pages)})
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_routes(app, projects)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fonts: dict[str, Any] = {
            "font": ["system-ui", "sans-serif"],
            "font_mono": ["ui-monospace", "monospace"],
        }
        look: dict[str, Any] = {"theme": gr.themes.Default(**fonts).set(**_one_blue()), "head": HEAD}
        limits: dict[str, Any] = {"allowed_paths": [], "max_file_size": MOST_UPLOADED}
        mounted: Any = gr.mount_gradio_app(
            app, blocks, path="/", footer_links=[], ssr_mode=False, **look, **limits
        )
    # Gradio checks the paths in a request only in a studio that it launched itself: unset, a request could
    # have any file of this machine copied to where it can be fetched.
    blocks.has_launched = True

    async def addressed(scope: Scope, receive: Receive, send: Send) -> None:
        """Send a browser that asks for a page of no folder to that of the folder opened last."""
        query, latest = scope.get("query_string", b"").decode("latin-1"), projects.latest
        is_page = scope["type"] == "http" and scope["path"] in paths and scope["method"] == "GET"
        if is_page and latest is not None and "project" not in parse_qs(query):
            to = "&".join(filter(None, (query, f"project={latest.id}")))
            await RedirectResponse(f"{scope['path']}?{to}", 303)(scope, receive, send)
        else:
            await mounted(scope, receive, send)

    return Guard(addressed, token)


def _one_blue() -> dict[str, str]:
    """Gradio's theme with the blue of studio.css, which has enough contrast for text in both modes."""
    accent = ("color_accent", "button_primary_background_fill", "button_primary_border_color")
    hover = ("button_primary_background_fill_hover", "button_primary_border_color_hover")
    ink = ("button_primary_text_color", "button_primary_text_color_hover")
    light = dict.fromkeys(accent, ACCENT) | dict.fromkeys(hover, "#094a8c") | dict.fromkeys(ink, "#ffffff")
    dark_names = [f"{name}_dark" for name in (*accent[1:], *hover, "checkbox_background_color_selected")]
    dark = dict.fromkeys(dark_names, ACCENT_DARK) | dict.fromkeys((f"{name}_dark" for name in ink), "#14141b")
    links = dict.fromkeys(
        (f"link_text_color{state}" for state in ("", "_hover", "_visited", "_active")), ACCENT
    )
    links |= {f"{name}_dark": ACCENT_DARK for name in links}
    return light | dark | links | {"slider_color": ACCENT, "slider_color_dark": ACCENT_DARK}


def serve(
    folder: Path | None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    token: str = "",
    opens_browser: bool = False,
) -> None:
    """Serve the studio until the process is stopped.

    Args:
        folder: to open at first; None lets people choose.
        host: address to listen on. Any but this machine's own requires a token, and only `folder` and the
            folders in it can be opened.
        port: 0 takes a free one.
        token: generated where one is required and none is given.
        opens_browser: open the address in the browser of this machine.

    Raises:
        UserError: the folder cannot be opened, or the address is taken.
    """
    is_open = host not in LOOPBACK
    if is_open and folder is None:
        remedy = "name the folder that may be seen"
        raise UserError("is required where other machines have access", where="FOLDER", remedy=remedy)
    if is_open:
        token = token or secrets.token_urlsafe(24)
    projects = Projects(folder, confined_to=folder if is_open else None, recent_file=default_recent_file())
    listening = bind(host, port)
    # Before the address is told: who opens it at once waits until the pages are made.
    listen(listening)
    address = f"{http_address(host, listening.getsockname()[1])}/{f'?token={token}' if token else ''}"
    print(f"The studio is open: {address}", flush=True)
    print("Ctrl-C ends it; trainings go on.", flush=True)
    if opens_browser:
        # Some browsers return only when they are closed.
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="roinspect-studio-") as uploads:
        # Every other Gradio application of this machine shares the usual folder, and could be read from here.
        os.environ["GRADIO_TEMP_DIR"] = uploads
        app = create_app(projects, token=token)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])
