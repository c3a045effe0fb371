"""The interface of an export target: writes a trained graph to files, and runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

from roinspect.errors import UserError
from roinspect.inspection.prediction import Predict

if TYPE_CHECKING:
    from torch import nn

Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]


@dataclass(frozen=True, slots=True)
class Resources:
    """What a runtime may use.

    Attributes:
        threads: for one call; None leaves it to the runtime, which uses all cores.
        streams: concurrent calls from several threads.
        providers: names of ONNX Runtime's execution providers in order of preference, such as
            "TensorrtExecutionProvider", "CUDAExecutionProvider"; the CPU runs what they cannot.
    """

    threads: int | None = None
    streams: int = 1
    providers: tuple[str, ...] = ()


class Source(Protocol):
    """A trained graph in the forms that targets export from. Inputs and outputs as in `exports.graph`."""

    size_hw: tuple[int, int]

    @property
    def module(self) -> nn.Module:
        """The graph as a module in evaluation mode."""

    def onnx_file(self, *, as_convolution: bool = False) -> Path:
        """A complete and checked ONNX file; for `as_convolution` see `NearestNeighbours.as_convolution`.

        Raises:
            UserError: onnx or onnxscript is not installed, or a layer has no ONNX form.
        """


class Target(ABC):
    """A kind of exported graph.

    Attributes:
        runtime: the name of the runtime.
        files: file names; the first is the one to open.
        extra: the extra of roinspect that installs the runtime; "" if the base install has it.
        is_automatic: whether the runtime "auto" considers it.
        has_providers: whether its runtime uses `Resources.providers`.
        precisions: the available precisions.
    """

    runtime: ClassVar[str]
    files: ClassVar[tuple[str, ...]]
    extra: ClassVar[str] = ""
    is_automatic: ClassVar[bool] = True
    has_providers: ClassVar[bool] = False
    precisions: ClassVar[frozenset[Precision]] = frozenset({"float32", "int8"})

    @abstractmethod
    def write(self, source: Source, file: Path) -> None:
        """Write a graph.

        Args:
            source: the graph.
            file: the path of the first of `files`, in a new folder.

        Raises:
            UserError: a package is not installed, or the graph cannot be written in this form.
            OSError: the disk refuses.
        """

    @abstractmethod
    def load(self, file: Path, resources: Resources, precision: Precision = "float32") -> Predict:
        """Load an exported file.

        Raises:
            UserError: the runtime is not installed, or a provider is not available.
        """

    def has_bfloat16(self) -> bool:
        """Whether the runtime computes in bfloat16 on this processor.

        Raises:
            UserError: the runtime is not installed.
        """
        return False


class NotInstalledError(UserError):
    """The packages of a runtime are missing."""

    def __init__(self, name: str, extra: str) -> None:
        super().__init__(
            f"{name} is not installed", where="runtime", remedy=f'pip install "roinspect[{extra}]"'
        )
