"""A complete family and a complete model of a user's zoo file."""

from __future__ import annotations

from typing import Any

FAMILY: dict[str, Any] = {
    "name": "night_net",
    "title": "Night Net",
    "paper": {"title": "Seeing after dusk", "address": "https://papers.example/dusk", "venue": "CVPR 2030"},
    "authors": [{"name": "Ada", "page": None}, {"name": "Bo", "page": "http://bo.example/"}],
    "code": None,
    "note": None,
}
MODEL: dict[str, Any] = {
    "name": "night_net_r50_1x",
    "aliases": ["dusk_net_r50_1x"],
    "family": "night_net",
    "backbone": "R-50-FPN",
    "schedule": "1x",
    "multi_scale_training": False,
    "published": None,
    "config": "configs/night_net.py",
    "ap_val": 12.5,
    "ap_test": None,
    "weights": {"address": "https://far.example/n.pth", "alternates": [], "digest": None, "size": None},
    "md5": None,
    "predictions": None,
    "visuals": None,
    "scores_val": None,
    "scores_test": None,
}
