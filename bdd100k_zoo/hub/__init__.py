"""Artifacts from their addresses to verified files in the cache."""

from bdd100k_zoo.hub.cache import Store, StoredFile
from bdd100k_zoo.hub.layout import default_cache_root

__all__ = ["Store", "StoredFile", "default_cache_root"]
