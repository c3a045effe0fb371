"""The contract of an export target: how a trained graph becomes its files, and what runs these."""

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
        threads: for one call; None leaves it to the runtime, which takes all cores.
        streams: calls that run side by side when they come from several threads.
        providers: ONNX Runtime's execution providers by name, the preferred one first, such as
            "TensorrtExecutionProvider", "CUDAExecutionProvider"; what they cannot run runs on the CPU.
    """

    threads: int | None = None
    streams: int = 1
    providers: tuple[str, ...] = ()


class Source(Protocol):
    """A trained graph, in the forms that a target may begin with. Input and outputs as in `export.graph`."""

    size_hw: tuple[int, int]

    @property
    def module(self) -> nn.Module:
        """In evaluation mode."""

    def onnx_file(self, *, as_convolution: bool = False) -> Path:
        """A checked ONNX file, whole; with `as_convolution`, memories as `NearestNeighbours.as_convolution`.

        Raises:
            UserError: onnx or onnxscript is not installed, or a layer has no ONNX form.
        """


class Target(ABC):
    """A kind of exported graph.

    Attributes:
        runtime: the name of what runs it.
        files: their names; the first is the one to open.
        extra: of roinspect, which installs the runtime; "" where the base install has it.
        is_automatic: whether the runtime "auto" considers it.
        has_providers: whether its runtime knows `Resources.providers`.
        precisions: those that it can be exported in.
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
            file: the first of `files`, in a folder of its own.

        Raises:
            UserError: a package is not installed, or the graph cannot be written in this form.
            OSError: the disk refuses.
        """

    @abstractmethod
    def load(self, file: Path, resources: Resources, precision: Precision = "float32") -> Predict:
        """Make an exported file ready to run, wherever it lies.

        Raises:
            UserError: the runtime is not installed, or does not know a provider.
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
