"""What is written during a training: train.json, metrics.jsonl, the best weights, the picture of the curve."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from math import isnan
from statistics import fmean
from time import monotonic
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bdd100k_zoo import training
from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.files import sha256_of, write_atomically
from bdd100k_zoo.reporting.plots import draw_learning_curve
from bdd100k_zoo.training.record import (
    BEST_WEIGHTS_FILE,
    CURVE_FILE,
    WEIGHTS_FILE,
    EpochRecord,
    MetricsWriter,
    StepLine,
    TrainingRecord,
    read_metrics,
    write_training,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bdd100k_zoo.evaluation.scores import Scores
    from bdd100k_zoo.progress import Progress, Task
    from bdd100k_zoo.training.job import GracefulStop, TrainingFacts, TrainingStep

LOSS_WINDOW = 50
"""Steps whose mean loss is shown."""


class TrainingLog:
    """A ``TrainingObserver`` that writes into the training's folder and reports to the terminal."""

    def __init__(
        self, folder: Path, begin: Callable[[TrainingFacts], TrainingRecord], progress: Progress, stop: GracefulStop
    ) -> None:
        """Prepare it; files are written when the training begins.

        Args:
            folder: the training's.
            begin: returns the record of a training that begins, or resumes.
            progress: where to report.
            stop: whether the training was asked to stop.
        """
        self.progress = progress
        self._folder, self._begin, self._stop = folder, begin, stop
        self._open = ExitStack()
        self._recent: deque[float] = deque(maxlen=LOSS_WINDOW)
        self._clock = 0.0
        self._record: TrainingRecord | None = None
        self._metrics: MetricsWriter | None = None
        self._task: Task | None = None
        self.steps = 0

    @property
    def stopping(self) -> bool:
        """Whether the training should end after this step."""
        return self._stop.asked

    def gently(self) -> AbstractContextManager[None]:
        """Defer interrupts in the block."""
        return self._stop.gently()

    @property
    def record(self) -> TrainingRecord:
        """What is known by now; ValueError before the training has begun."""
        if self._record is None:
            raise ValueError("the training has not begun")
        return self._record

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def began(self, facts: TrainingFacts) -> None:
        """Write what will be done, and report it."""
        self._record = self._begin(facts)
        known = tuple(each for each in self._record.epochs if each.epoch * facts.epoch_length <= facts.begun_at)
        self._record = replace(self._record, epochs=known)
        write_training(self._folder, self._record)
        self._metrics = MetricsWriter(self._folder, facts.begun_at)
        self._open.callback(self._metrics.close)
        total, self.steps = facts.epochs * facts.epoch_length, facts.begun_at
        title = f"Epoch {facts.begun_at // facts.epoch_length + 1}/{facts.epochs}"
        self._task = self._open.enter_context(self.progress.task(title, total, "steps", done=facts.begun_at))
        self._clock = monotonic()

    def stepped(self, step: TrainingStep) -> None:
        """Write a step."""
        now = monotonic()
        seconds, self._clock = now - self._clock, now
        line = StepLine(
            step=step.step,
            epoch=step.epoch,
            rate=step.rate,
            loss=step.loss,
            parts=step.parts,
            seconds=round(seconds, 4),
        )
        if self._metrics and self._task:
            self._metrics.write(line)
            self._recent.append(step.loss)
            self._task.retitle(f"Epoch {step.epoch}/{self.record.plan.epochs} · loss {fmean(self._recent):.4f}")
            self._task.advance(1)
        self.steps = step.step

    def saved(self, path: Path, step: int) -> None:
        """Ignore it: nothing is reported of checkpoints."""

    def scored(self, epoch: int) -> bool:
        """Return whether the scores after an epoch are known."""
        return any(each.epoch == epoch and each.ap is not None for each in self.record.epochs)

    def validated(self, epoch: int, scores: Scores) -> None:
        """Write an epoch, draw the curve, and save the weights if they are the best so far."""
        record, lines = self.record, read_metrics(self._folder)
        done = _epoch_record(epoch, [line for line in lines if line.epoch == epoch], scores)
        epochs = (*(each for each in record.epochs if each.epoch < epoch), done)
        best = max(epochs, key=lambda each: (each.ap or 0.0, -each.epoch))
        if best.epoch == epoch:
            training.export_weights(self._checkpoint(epoch), self._folder / BEST_WEIGHTS_FILE)
        seconds = record.seconds + monotonic() - self._clock + done.seconds
        self._record = replace(record, epochs=epochs, best_epoch=best.epoch, seconds=round(seconds, 3))
        write_training(self._folder, self._record)
        self._draw(lines)
        ap50 = f" (AP50 {done.ap50:.1f})" if done.ap50 is not None else ""
        ap = "no AP" if done.ap is None else f"AP {done.ap:.1f}{ap50}"
        mark = ", the best so far" if best.epoch == epoch else f"; the best is epoch {best.epoch}: {best.ap:.1f}"
        self.progress.note(f"epoch {epoch}: loss {done.loss:.4f}, {ap}{mark}")
        self._clock = monotonic()

    def finish(self) -> TrainingRecord:
        """Write the last weights, and the record of a finished training."""
        record = self.record
        training.export_weights(self._checkpoint(record.plan.epochs), self._folder / WEIGHTS_FILE)
        files = {name: sha256_of(self._folder / name) for name in (WEIGHTS_FILE, BEST_WEIGHTS_FILE)}
        self._record = replace(record, finished=True, files=files)
        write_training(self._folder, self._record)
        return self._record

    def _checkpoint(self, epoch: int) -> Path:
        from bdd100k_zoo.training.checkpoints import checkpoint_path

        return checkpoint_path(self._folder, epoch * self.record.epoch_length)

    def _draw(self, lines: list[StepLine]) -> None:
        record = self.record
        try:
            picture = draw_learning_curve(record.plan.model, lines, record.epochs, record.epoch_length)
        except MissingPackageError as error:
            if len(record.epochs) == 1:
                self.progress.warn(f"no picture of the learning curve is drawn: {error}")
        else:
            write_atomically(self._folder / CURVE_FILE, picture)


def _epoch_record(epoch: int, lines: list[StepLine], scores: Scores) -> EpochRecord:
    by_class = scores.plain()["AP"]
    overall = by_class.pop("OVERALL")
    ap50 = scores["AP50"].overall
    return EpochRecord(
        epoch=epoch,
        loss=fmean(line.loss for line in lines) if lines else float("nan"),
        rate=lines[-1].rate if lines else 0.0,
        seconds=round(sum(line.seconds for line in lines), 3),
        ap=overall,
        ap50=None if isnan(ap50) else ap50,
        by_class=by_class,
    )
