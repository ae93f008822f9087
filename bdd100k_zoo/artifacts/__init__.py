"""Addresses → verified files in the cache."""

from bdd100k_zoo.artifacts.layout import default_root
from bdd100k_zoo.artifacts.store import Store, StoredFile

__all__ = ["Store", "StoredFile", "default_root"]
