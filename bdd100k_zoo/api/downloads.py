"""download: published files → the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bdd100k_zoo.api.arguments import check_at_least, check_choice, optional_path, resolve_model
from bdd100k_zoo.display import resolve_progress
from bdd100k_zoo.errors import ZooError
from bdd100k_zoo.hub.archive import check_visuals_folders, unpack_visuals
from bdd100k_zoo.hub.cache import Store
from bdd100k_zoo.hub.download import JOBS, fetch_all
from bdd100k_zoo.registry import ARTIFACT_KINDS, Model, load_zoo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bdd100k_zoo.api.arguments import AnyModel, AnyPath
    from bdd100k_zoo.display import AnyProgress
    from bdd100k_zoo.hub.cache import StoredFile
    from bdd100k_zoo.registry import ArtifactKind, Zoo


def download(
    models: AnyModel | Sequence[AnyModel],
    *,
    what: ArtifactKind | Sequence[ArtifactKind] = "weights",
    require_digest: bool = False,
    jobs: int = JOBS,
    unpack: bool = False,
    out: AnyPath | None = None,
    zoo: Zoo | None = None,
    offline: bool | None = None,
    progress: AnyProgress = None,
) -> list[StoredFile]:
    """Download published files into the cache and verify them; files that are there already are not downloaded again.

    Args:
        models: models or their names, one or several; ``list_models()`` for all.
        what: kinds of files, one or several: ``weights``, ``preds``, ``visuals``, ``scores-val``, ``scores-test``.
        require_digest: refuse a file that no digest verifies; a mirror's does not count.
        jobs: how many files to transfer at once.
        unpack: unpack the visuals of each model into ``out/MODEL``.
        out: where to unpack; needs ``unpack``: files themselves are downloaded into the cache.
        zoo: where to look up names; None for ``load_zoo()``.
        offline: contact nothing; None to follow BDD100K_ZOO_OFFLINE.
        progress: None, True for bars, or a ``Progress``.

    Returns:
        The files, with ``path``, ``size``, and what verified them; in the order of ``models``, then of ``what``.

    Raises:
        TransferError: every address of a file failed.
        ArtifactError: any other failure, or several; what has arrived is kept.
        StorageError: the cache cannot be written.
    """
    kinds = (what,) if isinstance(what, str) else tuple(what)
    for kind in kinds:
        check_choice("what", kind, ARTIFACT_KINDS)
    check_at_least(1, jobs=jobs)
    if unpack and "visuals" not in kinds:
        raise ZooError("unpack needs the visuals", 'give what="visuals"')
    if unpack != (out is not None):
        raise ZooError("unpack and out need each other", "give both, out as a folder, or neither")
    known = load_zoo() if zoo is None else zoo
    chosen = [models] if isinstance(models, (str, Model)) else models
    artifacts = list(dict.fromkeys(resolve_model(each, known).artifact(kind) for each in chosen for kind in kinds))
    folder = optional_path(out)
    if folder:
        check_visuals_folders(artifacts, folder)
    shown = resolve_progress(progress)
    with Store(offline=offline) as store:
        files = fetch_all(store, artifacts, shown, require_digest=require_digest, jobs=jobs)
    if folder:
        unpack_visuals(artifacts, files, folder, shown)
    return files
