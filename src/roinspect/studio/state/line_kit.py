"""The zip for the PC on the line: a model, this roinspect as a wheel, and scripts that start it."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from roinspect.errors import UserError

_PACKAGE = Path(__file__).parents[2]

_WHEEL = "Wheel-Version: 1.0\nGenerator: roinspect\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

_START_SH = """#!/bin/sh
# Inspects what a camera writes into a folder: ./start.sh [FOLDER]. The first start installs roinspect.
set -e
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/photographs}
mkdir -p "$folder"
if [ ! -x "$here/.venv/bin/roinspect" ]; then
  python3 -m venv "$here/.venv"
  "$here/.venv/bin/python" -m pip install "$here/@WHEEL@"
fi
exec "$here/.venv/bin/roinspect" watch "$here/@MODEL@" "$folder" --out "$here/results.jsonl"
"""

_START_BAT = """@echo off
rem Inspects what a camera writes into a folder: start.bat [FOLDER]. The first start installs roinspect.
setlocal
set "FOLDER=%~dp0photographs"
if not "%~1"=="" set "FOLDER=%~f1"
cd /d "%~dp0"
if not exist "%FOLDER%" mkdir "%FOLDER%"
if exist ".venv\\Scripts\\roinspect.exe" goto run
py -3 -m venv .venv || python -m venv .venv || goto failed
".venv\\Scripts\\python.exe" -m pip install "@WHEEL@" || goto failed
:run
".venv\\Scripts\\roinspect.exe" watch "@MODEL@" "%FOLDER%" --out results.jsonl && exit /b 0
:failed
echo It did not work; the lines above say why.
pause
exit /b 1
"""

_README = """@MODEL@: a model for the PC on the line

Windows:  start.bat [FOLDER]
Linux:    ./start.sh [FOLDER]

inspects every photograph that arrives in FOLDER (by default in photographs, next to this file) and appends a
line to results.jsonl for each. Ctrl-C ends it; the next start goes on.

The PC needs Python 3.11 to 3.13. The first start installs roinspect from @WHEEL@
and downloads the packages that it needs; after that no network is needed. For a PC without a network, run

    pip download --dest packages @WHEEL@

on a PC like it, copy the folder packages here, and run

    python -m venv .venv
    .venv/bin/python -m pip install --no-index --find-links packages @WHEEL@

(.venv\\Scripts\\python.exe on Windows) before the first start.
"""


def line_kit(model: Path) -> bytes:
    """The zip, in one folder: MODEL/, the wheel, start.bat, start.sh and README.txt.

    Raises:
        UserError: roinspect runs here without being installed.
    """
    name, wheel = wheel_of_roinspect()
    words = {"@WHEEL@": name, "@MODEL@": model.name}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        top = f"{model.name}-line"
        for file in sorted(path for path in model.rglob("*") if path.is_file()):
            archive.write(file, f"{top}/{model.name}/{file.relative_to(model).as_posix()}")
        archive.writestr(f"{top}/{name}", wheel)
        for file_name, text, newline in (
            ("start.sh", _START_SH, "\n"),
            ("start.bat", _START_BAT, "\r\n"),
            ("README.txt", _README, "\r\n"),
        ):
            for mark, word in words.items():
                text = text.replace(mark, word)
            entry = zipfile.ZipInfo(f"{top}/{file_name}", date_time=(2020, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if file_name == "start.sh" else 0o644) << 16
            archive.writestr(entry, text.replace("\n", newline))
    return content.getvalue()


def wheel_of_roinspect() -> tuple[str, bytes]:
    """File name and content of a wheel of the roinspect that is running.

    It is packed from the package's own folder and the metadata of its installation, so it needs neither a
    network nor build tools, and works for an installation from source too.

    Raises:
        UserError: roinspect is not installed, only importable.
    """
    try:
        installed = distribution("roinspect")
    except PackageNotFoundError:
        raise UserError(
            "runs here without being installed", where="roinspect", remedy="install it with pip"
        ) from None
    base = f"roinspect-{installed.version}"
    record, content = list[str](), io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in _wheel_files(installed, f"{base}.dist-info"):
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(data)}\n")
            archive.writestr(path, data)
        archive.writestr(f"{base}.dist-info/RECORD", "".join([*record, f"{base}.dist-info/RECORD,,\n"]))
    return f"{base}-py3-none-any.whl", content.getvalue()


def _wheel_files(installed: Distribution, info: str) -> Iterator[tuple[str, bytes]]:
    for file in sorted(_PACKAGE.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            yield f"roinspect/{file.relative_to(_PACKAGE).as_posix()}", file.read_bytes()
    for name in ("METADATA", "entry_points.txt", "licenses/LICENSE"):
        if text := installed.read_text(name):
            yield f"{info}/{name}", text.encode()
    yield f"{info}/WHEEL", _WHEEL.encode()
