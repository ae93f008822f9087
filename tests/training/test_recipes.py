"""Every recipe takes optimisation steps: with its own optimizer, on small drawn images."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Any

import pytest
import torch
from mmcv.ops import RoIAlign
from mmdet.registry import MODELS
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from small_training import make_root

from bdd100k_zoo.backends.common.config import load_config, mmdet_default_scope
from bdd100k_zoo.progress import NO_PROGRESS
from bdd100k_zoo.registry import load_zoo
from bdd100k_zoo.training.job import GracefulStop, TrainingFacts, TrainingJob
from bdd100k_zoo.training.loaders import seed_rngs
from bdd100k_zoo.training.train import TrainRequest
from bdd100k_zoo.training.worker import resolve_recipe, train_model

if TYPE_CHECKING:
    from pathlib import Path

    from bdd100k_zoo.evaluation.scores import Scores
    from bdd100k_zoo.progress import Progress
    from bdd100k_zoo.training.record import StepLine

SCALE = (192, 108)
STEPS = 6
QUICK = ("retinanet_r50_fpn_1x",)


def recipe_of(name: str) -> str:
    """The recipe and network of a model: its name without its length, and without fp16, which a CPU has not."""
    return re.sub(r"_(\dx|fp16)(?=_|$)", "", name)


NAMES = [*{recipe_of(model.name): model.name for model in reversed(load_zoo().models)}.values()][::-1]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images, again and again: what is learnt of them shows in few steps."""
    return make_root(tmp_path_factory.mktemp("data") / "root", train=2 * STEPS, val=1, kinds=2)


@HOOKS.register_module()
class Examine(Hook):  # type: ignore[misc]
    """Looks at every gradient before it is used, at the types of regions, and at a loss before and after all steps."""

    examined = 0
    without: set[str]
    losses: list[float]
    regions: set[torch.dtype]

    def before_train(self, runner: Any) -> None:
        Examine.examined, Examine.without, Examine.regions, Examine.losses = 0, set(), set(), [self.loss(runner)]
        for layer in (each for each in runner.model.modules() if isinstance(each, RoIAlign)):
            layer.register_forward_pre_hook(lambda _, inputs: Examine.regions.update(each.dtype for each in inputs))
        named = [(name, each) for name, each in runner.model.named_parameters() if each.requires_grad]
        runner.optim_wrapper.optimizer.register_step_pre_hook(lambda *_: self.examine(named))

    def examine(self, named: list[tuple[str, torch.nn.Parameter]]) -> None:
        Examine.examined += 1
        Examine.without |= {name for name, each in named if each.grad is None}
        for name, each in named:
            assert each.grad is None or torch.isfinite(each.grad).all(), name

    def after_train(self, runner: Any) -> None:
        Examine.losses.append(self.loss(runner))

    def loss(self, runner: Any) -> float:
        """Compute the loss of the first images, with whatever is drawn at random drawn alike."""
        seed_rngs("test")
        data = runner.train_dataloader.dataset
        batch = runner.model.data_preprocessor(runner.train_dataloader.collate_fn([data[0], data[1]]), training=True)
        with torch.no_grad():
            total, _ = runner.model.parse_losses(runner.model(**batch, mode="loss"))
        return float(total)


class Spectator:
    """An observer that keeps the steps, and wants no validation."""

    progress: Progress = NO_PROGRESS

    def __init__(self) -> None:
        self.stop = GracefulStop()
        self.steps: list[StepLine] = []
        self.facts: TrainingFacts | None = None

    def began(self, facts: TrainingFacts) -> None:
        self.facts = facts

    def stepped(self, step: StepLine) -> None:
        self.steps.append(step)

    def validated(self, epoch: int, scores: Scores) -> None:
        raise AssertionError("the scores are reported as known")

    def scored(self, epoch: int) -> bool:
        return True


def overrides(name: str) -> dict[str, Any]:
    others = {"test_dataloader.dataset.pipeline.1.scale": SCALE, "param_scheduler": []}
    if name.endswith("_strong"):
        steps = ("0.img_scale", "1.img_scale", "3.scale")
        return others | {
            **{f"train_dataloader.dataset.pipeline.{step}": SCALE for step in steps},
            "train_dataloader.dataset.pipeline.4.crop_size": SCALE[::-1],
            "custom_hooks": [{"type": "Examine"}],
        }
    scales = {"scale": SCALE} if name.endswith("1x") else {"scales": [SCALE]}
    return {
        **{f"train_dataloader.dataset.pipeline.2.{key}": value for key, value in scales.items()},
        "train_dataloader.dataset.pipeline.3.prob": 0.0,
        "test_dataloader.dataset.pipeline.1.scale": SCALE,
        "param_scheduler": [],  # a warm-up would take longer than all that is done here
        "custom_hooks": [{"type": "Examine"}],
    }


def normalised(name: str, folder: Path) -> Path:
    """Write start values as tame as learnt ones: random features of HRNet, and their gradients, grow and grow."""
    settings = dict(load_config(load_zoo()[name].config_path).model.backbone, init_cfg=None)
    with mmdet_default_scope():
        backbone = MODELS.build(settings)
    seed_rngs("start values")
    for part in backbone.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.train()
            part.momentum = 1.0
        if hasattr(part, "downsample"):  # a residual block adds little to what it is given
            getattr(part, "bn3" if hasattr(part, "bn3") else "bn2").weight.data.fill_(0.1)
    with torch.no_grad():
        backbone(torch.randn(2, 3, 128, 192))
    torch.save(backbone.state_dict(), folder / "start.pth")
    return folder / "start.pth"


def take_steps(name: str, root: Path, out: Path, precision: str = "fp32", device: str = "cpu") -> Spectator:
    request = TrainRequest(
        model=load_zoo()[name],
        cfg_options=overrides(name),
        data=root,
        out=out,
        epochs=1,
        batch_size=2,
        workers=0,
        device=device,
        precision=precision,
    )
    seen = Spectator()
    start = normalised(name, out) if "hrnet" in name else None
    assert train_model(TrainingJob(request, resolve_recipe(request), start, "plan", seen))
    for path in out.glob("*.pth"):
        path.unlink()  # those of all recipes together fill a disk
    return seen


def check_steps(seen: Spectator) -> None:
    assert len(seen.steps) == Examine.examined == STEPS
    assert not Examine.without
    assert Examine.regions <= {torch.float32}
    assert all(isfinite(value) for step in seen.steps for value in (step.loss, *step.parts.values()))
    before, after = Examine.losses
    assert after < before


@pytest.mark.parametrize("name", QUICK)
def test_a_recipe_steps(name: str, root: Path, tmp_path: Path) -> None:
    check_steps(take_steps(name, root, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in QUICK])
def test_every_recipe_steps(name: str, root: Path, tmp_path: Path) -> None:
    check_steps(take_steps(name, root, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("family", [family.name for family in load_zoo().families])
def test_a_family_steps_in_bf16(family: str, root: Path, tmp_path: Path) -> None:
    name = next(model.name for model in load_zoo().models if model.family == family)
    check_steps(take_steps(name, root, tmp_path, "bf16"))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    "name",
    ["retinanet_r50_fpn_1x", "fcos_r50_fpn_1x", "faster_rcnn_r50_fpn_1x", "faster_rcnn_r50_fpn_deconv_1x"],
)
def test_a_recipe_steps_on_a_gpu(name: str, precision: str, root: Path, tmp_path: Path) -> None:
    seen = take_steps(name, root, tmp_path, precision, "cuda")
    if precision == "fp32":
        check_steps(seen)
    else:  # the loss scaler skips the first steps if their gradients are infinite
        assert len(seen.steps) == STEPS
        assert Examine.examined > 0
        assert Examine.regions <= {torch.float32}
        assert all(isfinite(value) for step in seen.steps for value in (step.loss, *step.parts.values()))


@pytest.mark.gpu
def test_the_first_loss_on_a_gpu_is_that_on_the_cpu(root: Path, tmp_path: Path) -> None:
    on_cpu, on_gpu = (take_steps("fcos_r50_fpn_1x", root, tmp_path, device=device) for device in ("cpu", "cuda"))
    assert on_gpu.steps[0].loss == pytest.approx(on_cpu.steps[0].loss, rel=1e-3)
