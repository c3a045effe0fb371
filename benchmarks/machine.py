"""Names the machine and the versions a figure was measured with."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path

import torch


def machine() -> str:
    """One line: processor, threads, versions, date."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    processor = names[0].split(":")[1].strip() if names else platform.processor()
    return (
        f"{processor}, {os.cpu_count()} cores, torch {torch.__version__.split('+')[0]}, "
        f"Python {platform.python_version()}, {date.today().isoformat()}"
    )
