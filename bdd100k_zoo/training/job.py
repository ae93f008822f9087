"""What a training is asked to do, whom it reports to, and how it is asked to stop."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from bdd100k_zoo.prediction.launch import SINGLE_PROCESS, ProcessRank

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bdd100k_zoo.evaluation.scores import Scores
    from bdd100k_zoo.progress import Progress


class BackboneInit(NamedTuple):
    """What the backbone starts from."""

    kind: Literal["file", "named", "config", "random"]
    """A user's file; the one that the config names; random because the config names none; random although it does."""
    path: Path | None = None
    """The file; None also if the training resumes from a checkpoint."""


class TrainingJob(NamedTuple):
    """The settings of a training."""

    name: str
    """The model, in messages."""
    config_path: Path
    overrides: Mapping[str, object]
    data_root: Path
    folder: Path
    """Of the checkpoints."""
    start: BackboneInit
    epochs: int | None = None
    """None for the recipe's."""
    batch_size: int | None = None
    """Images at once in each process; None for the recipe's."""
    workers: int | None = None
    """Processes that read ahead for each process; None for what suits the device."""
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    place: ProcessRank = SINGLE_PROCESS


class TrainingFacts(NamedTuple):
    """What is known of a training when it starts."""

    frames: int
    """Images of an epoch."""
    epochs: int
    epoch_length: int
    """Optimisation steps of an epoch."""
    batch_size: int
    processes: int
    workers: int
    warm_up: int
    """Steps over which the learning rate rises."""
    published_rate: float
    """The recipe's learning rate, for the recipe's batch."""
    published_batch: int
    rate: float
    """The learning rate for this batch."""
    device: str
    device_name: str
    precision: str
    ops: str
    parameters: int
    """Trainable ones."""
    begun_at: int
    """Steps that earlier processes took."""
    versions: Mapping[str, str]


class TrainingStep(NamedTuple):
    """One optimisation step; numbers are means over all processes."""

    epoch: int
    """From 1."""
    step: int
    """From 1, over all epochs."""
    rate: float
    """The learning rate of the first group of parameters."""
    loss: float
    parts: Mapping[str, float]
    """The terms of the loss, and what else the model reports."""


class TrainingObserver(Protocol):
    """Receives what happens in a training; only that of the first process receives anything."""

    @property
    def progress(self) -> Progress:
        """Where to report."""

    @property
    def stopping(self) -> bool:
        """Whether the training should end after this step."""

    def gently(self) -> AbstractContextManager[None]:
        """Defer interrupts in the block, where ``stopping`` is looked at after each step."""

    def began(self, facts: TrainingFacts) -> None:
        """Called before the first step."""

    def stepped(self, step: TrainingStep) -> None:
        """Called after each step."""

    def validated(self, epoch: int, scores: Scores) -> None:
        """Called with the scores after an epoch."""

    def scored(self, epoch: int) -> bool:
        """Return whether the scores after an epoch are known."""

    def saved(self, path: Path, step: int) -> None:
        """Called when a checkpoint is whole."""


class GracefulStop:
    """A request to stop a training, which a signal's handler makes with the interrupt that it would raise.

    Attributes:
        interrupt: the first request that came while stopping was deferred; None before.
    """

    def __init__(self) -> None:
        self.interrupt: KeyboardInterrupt | None = None
        self._deferred = False

    @property
    def asked(self) -> bool:
        """Whether the training should stop as soon as it can."""
        return self.interrupt is not None

    def ask(self, interrupt: KeyboardInterrupt) -> None:
        """Request a stop; raise the interrupt unless stopping is deferred, and at the second request."""
        if not self._deferred or self.asked:
            raise interrupt
        self.interrupt = interrupt

    @contextmanager
    def gently(self) -> Iterator[None]:
        """Defer stopping: the block looks at ``asked``, and only a second request interrupts it."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
