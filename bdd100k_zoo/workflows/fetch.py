"""Published files into the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.errors import ArtifactError, SeveralFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.artifacts.store import Store, StoredFile
    from bdd100k_zoo.manifest import Artifact
    from bdd100k_zoo.progress import Progress


def fetch_all(
    store: Store, artifacts: Sequence[Artifact], progress: Progress, *, require_digest: bool = False
) -> list[StoredFile]:
    """Fetch every artifact, going on after a failure, so that one dead address does not hold up the rest.

    Raises:
        ArtifactError: the failure, where one file was asked for.
        SeveralFailedError: all failures, where several were.
    """
    files: list[StoredFile] = []
    failures: list[ArtifactError] = []
    for artifact in artifacts:
        try:
            files.append(store.fetch(artifact, progress, require_digest=require_digest))
        except ArtifactError as error:
            failures.append(error)
    if len(failures) == 1 and len(artifacts) == 1:
        raise failures[0]
    if failures:
        raise SeveralFailedError(tuple(failures), tuple(stored.path for stored in files))
    return files
