"""Checkpoints written atomically: the last good one survives a kill and a full disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from roinspect.files import whole_file


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
        with whole_file(Path(path), durable=True) as partial:
            partial.write_bytes(content.getbuffer())
