"""What a training is built from, what it reports, and how it is asked to stop."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bdd100k_zoo.child_processes import Terminated, handle_signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bdd100k_zoo.evaluation.scores import Scores
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.training.recipe import Recipe
    from bdd100k_zoo.training.record import StepLine
    from bdd100k_zoo.training.train import TrainRequest


class TrainingJob(NamedTuple):
    """What one process's part in a training is built from."""

    request: TrainRequest
    recipe: Recipe
    start: Path | None
    """The file that the backbone starts from, if it starts from one."""
    plan: str
    """What identifies the training, in a line of text."""
    observer: TrainingObserver


class TrainingFacts(NamedTuple):
    """What is known of a training once its model is built."""

    frames: int
    """Images of an epoch."""
    epoch_length: int
    """Optimiser steps of an epoch."""
    parameters: int
    """Trainable ones."""
    learning_rate: float
    """For this batch."""
    published_learning_rate: float
    published_batch: int
    """What the recipe's learning rate is for."""
    warm_up: int
    """Steps over which the learning rate rises."""
    device: str
    device_name: str
    ops: str
    workers: int
    versions: Mapping[str, str]
    begun_at: int
    """Steps that earlier processes took."""


class TrainingObserver(Protocol):
    """Receives what happens in a training. Of several processes, only the first one calls its methods."""

    progress: Progress
    """Where to report."""
    stop: GracefulStop
    """Whether the training should end after the step under way."""

    def began(self, facts: TrainingFacts) -> None:
        """Called before the first step."""

    def stepped(self, step: StepLine) -> None:
        """Called after each step."""

    def validated(self, epoch: int, scores: Scores) -> None:
        """Called with the scores after an epoch, whose checkpoint is written by then."""

    def scored(self, epoch: int) -> bool:
        """Return whether the scores after an epoch are known."""


class GracefulStop:
    """A request to stop a training, made by a signal handler with the interrupt that it would raise otherwise.

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
    def deferred(self) -> Iterator[None]:
        """Defer stopping: the block checks ``asked``, and only a second request interrupts it."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False


def stop_on_signals(stop: GracefulStop) -> AbstractContextManager[None]:
    """Let Ctrl-C and SIGTERM in the block ask a training to stop."""

    def ask(number: int, _: object) -> None:
        stop.ask(Terminated() if number == signal.SIGTERM else KeyboardInterrupt())

    return handle_signals(dict.fromkeys((signal.SIGINT, signal.SIGTERM), ask))
