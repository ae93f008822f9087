from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bdd100k_zoo.prediction.run import differences
from bdd100k_zoo.training.record import (
    MetricsWriter,
    StepLine,
    TrainingPlan,
    read_metrics,
    read_training,
)

if TYPE_CHECKING:
    from pathlib import Path

PLAN = TrainingPlan(
    model="m",
    config_sha256="0" * 64,
    cfg_options="",
    train_labels_sha256="1" * 64,
    val_labels_sha256="2" * 64,
    start="random",
    epochs=12,
    batch_size=4,
    processes=1,
    seed=0,
    precision="fp32",
)


def line(step: int) -> StepLine:
    return StepLine(
        step=step, epoch=1 + step // 10, rate=0.1, loss=1 / (1 + step), parts={"loss_cls": 0.5}, seconds=1.0
    )


@given(st.integers(0, 6), st.integers(0, 9))
def test_metrics_are_cut_back_to_where_a_training_resumes(tmp_path_factory: object, taken: int, kept: int) -> None:
    folder: Path = tmp_path_factory.mktemp("x")  # type: ignore[attr-defined]
    first = MetricsWriter(folder, 0)
    for step in range(1, taken + 1):
        first.write(line(step))
    first.close()
    second = MetricsWriter(folder, kept)
    second.write(line(100))
    second.close()
    assert read_metrics(folder) == [*(line(step) for step in range(1, min(taken, kept) + 1)), line(100)]


def test_a_line_that_a_killed_process_left_broken_ends_the_metrics(tmp_path: Path) -> None:
    metrics = MetricsWriter(tmp_path, 0)
    metrics.write(line(1))
    metrics.close()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step":2,"epo')
    assert read_metrics(tmp_path) == [line(1)]


def test_plans_differ_in_what_is_named() -> None:
    import msgspec

    assert differences(PLAN.compared(), PLAN.compared()) == ()
    other = msgspec.structs.replace(PLAN, seed=3, cfg_options='{"a": 1}')
    assert differences(PLAN.compared(), other.compared()) == (
        'cfg options: none there, {"a": 1} now',
        "seed: 0 there, 3 now",
    )
    assert PLAN.digest != other.digest


def test_every_fact_of_a_plan_is_compared() -> None:
    import msgspec

    for name in TrainingPlan.__struct_fields__:
        assert differences(PLAN.compared(), msgspec.structs.replace(PLAN, **{name: "x"}).compared())


def test_where_there_is_no_record_there_is_none(tmp_path: Path) -> None:
    assert read_training(tmp_path) is None
