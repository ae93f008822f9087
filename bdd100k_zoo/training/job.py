"""What a training is asked to do, and whom it tells what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from bdd100k_zoo.prediction.launch import SINGLE_PROCESS, ProcessRank

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bdd100k_zoo.evaluation.scores import Scores
    from bdd100k_zoo.progress import Progress


class BackboneInit(NamedTuple):
    """What the backbone starts from."""

    kind: Literal["file", "named", "config", "random"]
    """A user's file; the one that the config names; what the config draws, as it names none; drawn although it does."""
    path: Path | None = None
    """The file; None also where a checkpoint stands that a training goes on from."""


class TrainingJob(NamedTuple):
    """All that decides a training."""

    name: str
    """What errors call the model."""
    config_path: Path
    overrides: Mapping[str, object]
    data_root: Path
    folder: Path
    """Where checkpoints are kept."""
    start: BackboneInit
    epochs: int | None = None
    """None for as many as the recipe says."""
    batch_size: int | None = None
    """Images at once in each process; None for as many as the recipe says."""
    workers: int | None = None
    """Processes that read ahead for each process; None for what suits the device."""
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    place: ProcessRank = SINGLE_PROCESS


class TrainingFacts(NamedTuple):
    """What is known of a training when it begins."""

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
    """Numbers that are learnt."""
    begun_at: int
    """Steps that an earlier process has taken."""
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
    """What the loss is the sum of, and what else the model tells."""


class TrainingObserver(Protocol):
    """Whoever wants to know. Only that of the first process is told anything."""

    @property
    def progress(self) -> Progress:
        """Where to report."""

    @property
    def stopping(self) -> bool:
        """Whether the training should end after the present step."""

    def gently(self) -> AbstractContextManager[None]:
        """Let what asks the training to end wait inside until ``stopping`` is looked at."""

    def began(self, facts: TrainingFacts) -> None:
        """Learn what will be done, before the first step."""

    def stepped(self, step: TrainingStep) -> None:
        """Learn of a step."""

    def validated(self, epoch: int, scores: Scores) -> None:
        """Learn how good the model is after an epoch."""

    def scored(self, epoch: int) -> bool:
        """Say whether it is known how good the model was after an epoch."""

    def saved(self, path: Path, step: int) -> None:
        """Learn of a checkpoint that is whole."""
