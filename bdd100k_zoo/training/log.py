"""What is written during a training: train.json, metrics.jsonl, the best weights, the picture of the curve."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from datetime import datetime, timezone
from math import isnan
from statistics import fmean
from time import monotonic
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bdd100k_zoo.errors import MissingPackageError
from bdd100k_zoo.files import sha256_of, write_atomically
from bdd100k_zoo.reporting.plots import draw_learning_curve
from bdd100k_zoo.training.checkpoints import export_weights
from bdd100k_zoo.training.record import (
    BEST_WEIGHTS_FILE,
    CURVE_FILE,
    WEIGHTS_FILE,
    EpochRecord,
    MetricsWriter,
    StepLine,
    TrainingRecord,
    checkpoint_path,
    read_metrics,
    read_training,
    write_training,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.evaluation.scores import Scores
    from bdd100k_zoo.progress import Progress, Task
    from bdd100k_zoo.training.job import GracefulStop, TrainingFacts
    from bdd100k_zoo.training.record import TrainingPlan
    from bdd100k_zoo.training.train import TrainRequest

LOSS_WINDOW = 50
"""Steps whose mean loss is shown."""


class TrainingLog:
    """A ``TrainingObserver`` that writes into the training's folder and reports to the terminal."""

    _record: TrainingRecord
    _metrics: MetricsWriter
    _task: Task

    def __init__(
        self, request: TrainRequest, plan: TrainingPlan, start: str, progress: Progress, stop: GracefulStop
    ) -> None:
        """Prepare it; files are written once the training begins.

        Args:
            request: what is asked for.
            plan: the facts that decide the training.
            start: what the backbone starts from, in words.
            progress: where to report.
            stop: whether the training was asked to stop.
        """
        self.progress, self.stop, self.steps = progress, stop, 0
        self._request, self._plan, self._start, self._folder = request, plan, start, request.folder
        self._open = ExitStack()
        self._recent: deque[float] = deque(maxlen=LOSS_WINDOW)
        self._clock = 0.0

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def began(self, facts: TrainingFacts) -> None:
        """Write what will be done, and report it."""
        self._report_start(facts)
        self._record = self._begin_record(facts)
        write_training(self._folder, self._record)
        self._metrics = MetricsWriter(self._folder, facts.begun_at)
        self._open.callback(self._metrics.close)
        epochs, self.steps = self._plan.epochs, facts.begun_at
        title = f"Epoch {self.steps // facts.epoch_length + 1}/{epochs}"
        total = epochs * facts.epoch_length
        self._task = self._open.enter_context(self.progress.task(title, total, "steps", done=self.steps))
        self._clock = monotonic()

    def _report_start(self, facts: TrainingFacts) -> None:
        plan, note = self._plan, self.progress.note
        length, batch = facts.epoch_length, plan.batch_size * plan.processes
        epochs = f"{plan.epochs:,} epoch{'' if plan.epochs == 1 else 's'}"
        note(
            f"{plan.model} on {facts.frames:,} images, {epochs} of {length:,} step{'' if length == 1 else 's'} → "
            f"{self._folder}"
        )
        note(f"backbone: {self._start}")
        rate = f"learning rate {facts.learning_rate:g} for a batch of {batch}"
        if batch != facts.published_batch:
            rate += f"; {facts.published_learning_rate:g} for a batch of {facts.published_batch}"
        note(rate)
        if 2 * facts.warm_up > (total := plan.epochs * length):
            self.progress.warn(f"the learning rate rises over {facts.warm_up:,} steps, and there are {total:,}")
        if facts.begun_at:
            note(f"resuming after step {facts.begun_at:,}")

    def _begin_record(self, facts: TrainingFacts) -> TrainingRecord:
        record = TrainingRecord(
            plan=self._plan,
            config=self._request.model.config,
            cfg_options=self._request.cfg_options,
            data_root=str(self._request.data),
            start=self._start,
            command=self._request.command,
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **{name: each for name, each in facts._asdict().items() if name in TrainingRecord.__struct_fields__},
        )
        before = read_training(self._folder)
        if not (before and facts.begun_at):
            return record
        known = tuple(each for each in before.epochs if each.epoch * facts.epoch_length <= facts.begun_at)
        return replace(
            record, started=before.started, epochs=known, seconds=before.seconds, best_epoch=before.best_epoch
        )

    def stepped(self, step: StepLine) -> None:
        """Write a step."""
        now = monotonic()
        seconds, self._clock = now - self._clock, now
        self._metrics.write(replace(step, seconds=round(seconds, 4)))
        self._recent.append(step.loss)
        self._task.retitle(f"Epoch {step.epoch}/{self._plan.epochs} · loss {fmean(self._recent):.4f}")
        self._task.advance(1)
        self.steps = step.step

    def scored(self, epoch: int) -> bool:
        """Return whether the scores after an epoch are known."""
        return any(each.epoch == epoch and each.ap is not None for each in self._record.epochs)

    def validated(self, epoch: int, scores: Scores) -> None:
        """Write an epoch, draw the curve, and save the weights if they are the best so far."""
        record, lines = self._record, read_metrics(self._folder)
        done = _epoch_record(epoch, [line for line in lines if line.epoch == epoch], scores)
        epochs = (*(each for each in record.epochs if each.epoch < epoch), done)
        best = max(epochs, key=lambda each: (each.ap or 0.0, -each.epoch))
        if best.epoch == epoch:
            export_weights(self._checkpoint(epoch), self._folder / BEST_WEIGHTS_FILE)
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
        record = self._record
        export_weights(self._checkpoint(record.plan.epochs), self._folder / WEIGHTS_FILE)
        files = {name: sha256_of(self._folder / name) for name in (WEIGHTS_FILE, BEST_WEIGHTS_FILE)}
        self._record = replace(record, finished=True, files=files)
        write_training(self._folder, self._record)
        return self._record

    def _checkpoint(self, epoch: int) -> Path:
        return checkpoint_path(self._folder, epoch * self._record.epoch_length)

    def _draw(self, lines: list[StepLine]) -> None:
        record = self._record
        try:
            picture = draw_learning_curve(record.plan.model, lines, record.epochs, record.epoch_length)
        except MissingPackageError as error:
            if len(record.epochs) == 1:
                self.progress.warn(f"no picture of the learning curve is drawn: {error}")
        else:
            write_atomically(self._folder / CURVE_FILE, picture)


def _epoch_record(epoch: int, lines: list[StepLine], scores: Scores) -> EpochRecord:
    by_class = scores.to_dict()["AP"]
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
