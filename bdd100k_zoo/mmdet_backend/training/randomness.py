"""Chance that depends on nothing but a seed and a place in the training.

Whatever is drawn at random — the order of an epoch, the flip of an image, the boxes that a head samples in a step — is
drawn from a state that is made of the seed and of where the training is. So a training that goes on from a checkpoint
draws what the unbroken one would have drawn, with however many processes that read ahead, and a checkpoint needs to
hold no state of any generator: its seed and counters are the state.
"""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def number_of(*place: object) -> int:
    """Give a number of 63 bits that stands for a place, as ``number_of(seed, "order", epoch)``."""
    text = "/".join(map(str, place)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def draw_from(*place: object) -> None:
    """Let Python, numpy and torch (on all devices) draw from here on what belongs to a place."""
    number = number_of(*place)
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)
