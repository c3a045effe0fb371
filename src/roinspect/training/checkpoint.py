"""Checkpoints that are whole or not there: the last good one outlives a kill and a full disk."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint and renames.

    Lightning's own writer goes through the system's temporary folder. Where that is another disk, moving the
    file is copying it over the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`; raises OSError where the disk is full, and leaves what was there."""
        # Through memory, as torch reports a full disk as a RuntimeError like any other.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        whole = Path(path)
        whole.parent.mkdir(parents=True, exist_ok=True)
        partial = whole.with_name(f".{whole.name}.tmp")
        try:
            with partial.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, whole)
        finally:
            partial.unlink(missing_ok=True)
