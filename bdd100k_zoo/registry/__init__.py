"""Zoo files: YAML on disk to frozen, checked records."""

from bdd100k_zoo.registry.loading import list_models, load_zoo
from bdd100k_zoo.registry.models import ARTIFACT_KINDS, Artifact, ArtifactKind, Family, Model, Zoo

__all__ = ["ARTIFACT_KINDS", "Artifact", "ArtifactKind", "Family", "Model", "Zoo", "list_models", "load_zoo"]
