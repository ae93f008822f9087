"""Zoo files: YAML on disk to frozen, checked records."""

from bdd100k_zoo.registry.loading import load_zoo
from bdd100k_zoo.registry.models import (
    ARTIFACT_KINDS,
    Artifact,
    ArtifactKind,
    Author,
    Family,
    Model,
    Paper,
    Weights,
    Zoo,
)

__all__ = [
    "ARTIFACT_KINDS",
    "Artifact",
    "ArtifactKind",
    "Author",
    "Family",
    "Model",
    "Paper",
    "Weights",
    "Zoo",
    "load_zoo",
]
