"""The help of the commands: options in groups, examples, and the page of the documentation."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperOption

from bdd100k_zoo.errors import docs_page

GROUPS = {
    "Input": "images every split data labels runs frames published speed from what all digest family backbone schedule "
    "min-ap edition best config published-predictions",
    "Output": "out format to json sort title show unpack check config-root confidence by top-errors viewer "
    "min-score classes max-per-image clip limit dry-run include-unverified",
    "Model": "weights weights-dir precision backend cfg-options pretrained from-scratch epochs seed",
    "Device": "device gpus batch-size workers jobs",
    "Advanced": "launcher fresh resume merge skip-unreadable lenient engine resamples against-mmdet require-digest "
    "ledgers deep links imports-only",
}
"""The group of each option, by its name without dashes."""
GROUP_OF = {f"--{name}": group for group, names in GROUPS.items() for name in names.split()}

PAGES: dict[str, tuple[str, ...]] = {
    "demo": ("demo", "demo", "demo --out demo"),
    "list": ("usage", "list --best", "list --family retinanet --sort val", "list --min-ap 32 --format csv"),
    "info": ("usage", "info cascade_rcnn_r50_fpn_3x", "info faster_rcnn"),
    "new": (
        "contributing",
        "new my_net --config my_net.py --weights my_net.pth",
        "new my_net --config my_net.py --weights hf://me/nets/my_net.pth",
    ),
    "table": ("usage", "table", "table --family fcos --format latex", "table --out README.md"),
    "download": ("downloads", "download cascade_rcnn_r50_fpn_3x", "download --all", "download --all --what preds"),
    "digests": ("downloads", "digests", "digests --out zoo.yaml"),
    "predict": (
        "usage",
        "predict cascade_rcnn_r50_fpn_3x street.jpg",
        "predict cascade_rcnn_r50_fpn_3x frames/ --min-score 0.3 --show",
        "predict cascade_rcnn_r50_fpn_3x --split val --data ROOT --gpus 8",
    ),
    "eval": (
        "evaluation",
        "eval --split val --data ROOT",
        "eval fcos_r50_fpn_1x fcos_r50_fpn_3x --data ROOT --confidence",
        "eval det.json --labels det_val.json --out scores.json",
    ),
    "show": (
        "show",
        "show cascade_rcnn_r50_fpn_3x --data ROOT --split val",
        "show det.json --images frames/ --out pictures --classes car,bus",
        "show RUN --images frames/ --labels det_val.json --top-errors 20",
    ),
    "report": (
        "report",
        "report cascade_rcnn_r50_fpn_3x --data ROOT",
        "report a/det.json b/det.json --labels val.json --confidence",
    ),
    "reproduce": (
        "reproduce",
        "reproduce cascade_rcnn_r50_fpn_3x --data ROOT",
        "reproduce --all --data ROOT --gpus 8",
        "reproduce --all --data ROOT --published-predictions",
    ),
    "site": ("site", "site --out site", "site --out site --runs runs"),
    "submit": (
        "evaluation",
        "submit cascade_rcnn_r50_fpn_3x --data ROOT --out submission.json",
        "submit det.json --images frames/ --out submission.json",
    ),
    "convert": (
        "usage",
        "convert det_val.json --to coco --out det_val_coco.json",
        "convert det.json --labels det_val.json --to coco --out coco.json",
        "convert det.json --to yolo --images frames/ --out yolo",
    ),
    "train": (
        "training",
        "train retinanet_r50_fpn_1x --data ROOT",
        "train retinanet_r50_fpn_1x --data ROOT --gpus 8 --precision fp16",
    ),
    "bench": ("performance", "bench cascade_rcnn_r50_fpn_3x", "bench fcos_r50_fpn_1x --device cuda --precision fp16"),
    "doctor": ("usage", "doctor", "doctor --links"),
    "cache dir": ("cache", "cache dir", "du -sh $(bdd100k-zoo cache dir)"),
    "cache list": ("cache", "cache list", "cache list --json"),
    "cache verify": ("cache", "cache verify", "cache verify cascade_rcnn_r50_fpn_3x --deep"),
    "cache import": (
        "cache",
        "cache import cascade_rcnn_r50_fpn_3x weights.pth",
        "cache import NAME FILE --what preds",
    ),
    "cache export": ("mirrors", "cache export --out mirror", "cache export cascade_rcnn_r50_fpn_3x --out mirror"),
    "cache rm": ("cache", "cache rm cascade_rcnn_r50_fpn_3x", "cache rm cascade_rcnn_r50_fpn_3x --json"),
    "cache prune": ("cache", "cache prune --dry-run", "cache prune"),
}
"""For each command: its page in the documentation, and examples."""


class HelpPage(TyperCommand):
    """A command whose help has groups of options, examples and the address of its page."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with the options in the order of their groups."""
        params = super().get_params(ctx)
        for each in params:
            if isinstance(each, TyperOption):
                each.rich_help_panel = GROUP_OF.get(each.opts[0])
                each.hidden = each.hidden or "--help" in each.opts  # whoever reads it knows it
        order = list(GROUPS)
        return sorted(params, key=lambda each: order.index(getattr(each, "rich_help_panel", None) or order[0]))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, with the examples at its end."""
        name = ctx.command_path.partition(" ")[2]
        page, *examples = PAGES[name]
        lines = [each if each.startswith("du ") else f"bdd100k-zoo {each}" for each in examples]
        self.epilog = "\n".join(["Examples:", *(f"  {line}" for line in lines), "", f"Docs: {docs_page(page)}"])
        super().format_help(ctx, formatter)
