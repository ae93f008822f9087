"""zoo.yaml → frozen records."""

from bdd100k_zoo.manifest.load import load_zoo
from bdd100k_zoo.manifest.schema import WHATS, Artifact, Author, Family, Model, Paper, Weights, What, Zoo

__all__ = ["WHATS", "Artifact", "Author", "Family", "Model", "Paper", "Weights", "What", "Zoo", "load_zoo"]
