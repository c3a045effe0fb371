"""Atomic checkpoints: the previous one survives a kill and a full disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from roinspect.files import whole_file


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a temporary file in the same folder and renames it.

    Lightning writes to the system's temporary folder. If that is on another disk, moving the file means
    copying it over the previous checkpoint, which is not atomic.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`; on an OSError, such as a full disk, the previous file stays."""
        # Through memory, as torch.save reports a full disk as a generic RuntimeError.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with whole_file(Path(path), durable=True) as partial:
            partial.write_bytes(content.getbuffer())
