"""All exceptions that a caller of this package may catch.

    ZooError
    ├── ManifestError              a zoo file breaks its schema
    ├── UnknownNameError           no model or family has that name
    ├── MissingPackageError        an extra is not installed, or does not import
    ├── BackendError               the backend is not installed, or lacks an op
    ├── SettingsError              a setting of the environment or of the configuration file is invalid
    ├── ArtifactError              about one artifact of one model: weights, predictions, …
    │   ├── OfflineError           it is not in the cache, and nothing may be contacted
    │   ├── TransferError          every address failed
    │   ├── DigestMismatchError    the bytes do not have the expected digest
    │   └── UnverifiedError        a digest was required, and none verifies the file
    ├── StorageError               a file or folder cannot be read or written, the disk is full
    ├── ImagesError                no images, two with one name, changed since the run began, …
    │   └── UnreadableImageError   a file is not a whole image
    ├── ConfigError                a model's config cannot be read, overridden or built
    ├── CheckpointError            weights are not those of the model
    │   └── UnsafeCheckpointError  the file is damaged, or holds more than tensors and plain values
    ├── NotFiniteError             a model gave NaN or infinity for an image
    ├── DeviceError                this machine lacks the device, its memory or the precision
    ├── WorkerFailedError          one of several processes failed or was killed
    ├── RunMismatchError           a folder holds another run
    ├── FolderBusyError            another process is writing into a run's folder
    └── InvalidFileError           a file's content is not what was expected
        ├── InputsError            labels or predictions that cannot be scored as they are
        └── SubmissionError        predictions that the evaluation server would refuse or miscount

``str()`` of an error says what was expected and what was found, ``hint`` what to do next. Both are given where it is
raised; the command line only prints them. Facts that a caller may act on are attributes.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_):
        """Mean nothing at run time: type checkers alone need it."""
        return lambda kind: kind


class ZooError(Exception):
    """Base of all errors that this package raises on purpose."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with all attributes, so that an error arrives whole from a worker process."""
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(kind: type[ZooError], arguments: tuple[object, ...]) -> ZooError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    return error


class ManifestError(ZooError):
    """A zoo file breaks its schema."""

    def __init__(self, file: Path, entry: str, field: str, problem: str) -> None:
        """Describe the place.

        Args:
            file: the zoo file.
            entry: the family's or model's name, or its place in the file where it has none.
            field: the field at fault; empty where the entry as a whole is.
            problem: what was expected and found.
        """
        super().__init__(
            f"{file}: " + ": ".join(filter(None, (entry, field, problem))),
            f"correct it in {file}; docs/contributing.md has a worked example",
        )
        self.file, self.entry, self.field, self.problem = file, entry, field, problem


class UnknownNameError(ZooError):
    """No model, or no family, has that name."""

    def __init__(self, kind: str, name: str, nearest: tuple[str, ...]) -> None:
        """Describe the name.

        Args:
            kind: ``model`` or ``family``.
            name: as it was given.
            nearest: names that the user may have meant, best first.
        """
        command = "`bdd100k-zoo list` shows all"
        hint = f"did you mean {' or '.join(nearest)}? {command}" if nearest else command
        super().__init__(f"the zoo has no {kind} {name!r}", hint)
        self.kind, self.name, self.nearest = kind, name, nearest


class MissingPackageError(ZooError):
    """A job needs a package of an extra that is not installed or does not import.

    The command line replaces the hint by the repair for the environment that it runs in.
    """

    def __init__(self, package: str, extra: str, reason: str) -> None:
        hint = f"install it with `pip install 'bdd100k-zoo[{extra}]'`; `bdd100k-zoo doctor` examines all"
        super().__init__(f"{package} is needed and cannot be imported: {reason}", hint)
        self.package, self.extra, self.reason = package, extra, reason


class BackendError(ZooError):
    """The backend that was asked for is not installed, or lacks an op."""


class SettingsError(ZooError):
    """A setting of the environment or of the configuration file is invalid."""

    def __init__(self, setting: str, value: str, problem: str, hint: str) -> None:
        """Describe the setting.

        Args:
            setting: the variable's name, or the file with the place in it.
            value: as the user wrote it, without secrets; empty where the setting as a whole is at fault.
            problem: in words that follow the value.
            hint: what to do next.
        """
        super().__init__(f"{setting}: {value!r} {problem}" if value else f"{setting}: {problem}", hint)
        self.setting, self.value, self.problem = setting, value, problem


class ArtifactError(ZooError):
    """About one artifact (weights, predictions, …) of one model."""


class OfflineError(ArtifactError):
    """The artifact is not in the cache, and nothing may be contacted."""


class TransferAttempt(NamedTuple):
    """One address that was tried, and how it answered."""

    address: str
    outcome: str


class TransferError(ArtifactError):
    """Every address of an artifact failed."""

    def __init__(
        self, model: str, what: str, attempts: tuple[TransferAttempt, ...], kept: int = 0, hint: str = ""
    ) -> None:
        """Describe the attempts.

        Args:
            model: its name.
            what: the kind of artifact.
            attempts: the addresses in the order in which they were tried.
            kept: bytes that have arrived, from which the next attempt resumes.
            hint: what to do next.
        """
        tried = "".join(f"\n  {attempt.address}\n    {attempt.outcome}" for attempt in attempts)
        partial = f"\n{kept:,} bytes have arrived and are kept; the next attempt resumes from there" if kept else ""
        super().__init__(f"the {what} of {model} could not be downloaded; tried:{tried}{partial}", hint)
        self.model, self.what, self.attempts, self.kept = model, what, attempts, kept


class DigestMismatchError(ArtifactError):
    """Bytes do not have the expected digest. Nothing of a download is kept; a file that was there before stays."""

    def __init__(self, subject: str, expected: str, found: str, source: str, hint: str = "") -> None:
        """Describe both digests.

        Args:
            subject: what was checked: an address or a file.
            expected: ``md5:…``, ``sha256:…`` or ``N bytes``.
            found: the same of what is there.
            source: where the expected digest comes from.
            hint: what to do next.
        """
        super().__init__(f"{subject}: expected {expected} (from {source}), found {found}", hint)
        self.subject, self.expected, self.found, self.source = subject, expected, found, source


class UnverifiedError(ArtifactError):
    """A digest was required, and none verifies the file."""

    def __init__(self, model: str, what: str, reason: str) -> None:
        option = "" if what == "weights" else f" --what {what}"
        super().__init__(
            f"the {what} of {model} cannot be verified: {reason}",
            f"give a digest you trust: `bdd100k-zoo cache import {model} FILE{option} --digest sha256:…` or a zoo file "
            "of digests in BDD100K_ZOO_FILES (a mirror's does not count); or leave out --require-digest",
        )
        self.reason = reason


CHECK_PATH = "check that the path exists and may be read and written, or choose another folder"


class StorageError(ZooError):
    """A file or folder cannot be read or written."""

    def __init__(self, path: Path, reason: str, hint: str = CHECK_PATH) -> None:
        super().__init__(f"{path}: {reason}", hint)
        self.path, self.reason = path, reason

    @classmethod
    def from_os_error(cls, path: Path, error: OSError) -> Self:
        """Return the error for what the operating system answered."""
        hint = CHECK_PATH
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = (
                "free some space, and the same command resumes; "
                "or choose another folder: --out for runs, BDD100K_ZOO_CACHE for downloads"
            )
        elif error.errno == errno.ENOMEM:
            hint = "stop what else uses the memory, or use a machine that has more"
        return cls(path, error.strerror or str(error), hint)


class ImagesError(ZooError):
    """About the images that a command was given."""


class UnreadableImageError(ImagesError):
    """A file is not a whole image."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}", "replace the file, or leave it out")
        self.path, self.reason = path, reason


class ConfigError(ZooError):
    """A model's config cannot be read, overridden or built."""

    def __init__(
        self, config: str, problem: str, hint: str = "check the config, or the keys and values of --cfg-options"
    ) -> None:
        super().__init__(f"{config}: {problem}", hint)
        self.config, self.problem = config, problem


class CheckpointError(ZooError):
    """Weights are not those of the model."""


class UnsafeCheckpointError(CheckpointError):
    """A file of weights is damaged, is something else, or holds more than tensors and plain values.

    Nothing in it was executed.
    """

    def __init__(self, path: Path, reason: str, hint: str = "") -> None:
        super().__init__(
            f"{path} was not loaded: {reason}", hint or "only whole files of tensors are loaded: give another copy"
        )
        self.path, self.reason = path, reason


class NotFiniteError(ZooError):
    """A model gave NaN or infinity for an image."""

    def __init__(self, model: str, precision: str, image: str = "") -> None:
        """Describe the result.

        Args:
            model: its name.
            precision: in which it was computed.
            image: its name; empty where only pixels were given.
        """
        hint = "check the image, the --cfg-options, and whether the weights come from a training that diverged"
        if precision != "fp32":
            hint = f"{precision} may have overflowed: try --precision fp32, with another --out"
        place = f" for {image}" if image else ""
        super().__init__(f"{model} gave NaN or infinite scores or boxes{place}, computing in {precision}", hint)
        self.model, self.precision, self.image = model, precision, image


class DeviceError(ZooError):
    """This machine or this build of torch lacks the device, its memory or the precision."""

    def __init__(self, device: str, reason: str, out_of_memory: bool = False, hint: str = "") -> None:
        """Describe the device.

        Args:
            device: as torch names it.
            reason: why it cannot be used.
            out_of_memory: its memory does not suffice; a smaller batch may fit.
            hint: what to do next; by default chosen by ``out_of_memory``.
        """
        if not hint and out_of_memory:
            hint = "a smaller --batch-size needs less memory, and --device cpu none of the GPU's"
        hint = hint or "use --device cpu; `bdd100k-zoo doctor` shows what torch finds"
        super().__init__(f"the device {device!r} cannot be used: {reason}", hint)
        self.device, self.reason, self.out_of_memory = device, reason, out_of_memory


class WorkerFailedError(ZooError):
    """One of several processes failed or was killed."""

    def __init__(self, message: str, hint: str, status: int | None = None) -> None:
        """Describe the processes.

        Args:
            message: what happened.
            hint: what to do next.
            status: the exit status of the process that failed; None where there is none.
        """
        super().__init__(message, hint)
        self.status = status


class RunMismatchError(ZooError):
    """A folder holds another run."""

    def __init__(self, folder: Path, differences: tuple[str, ...]) -> None:
        """Describe what is there.

        Args:
            folder: the folder of the run.
            differences: what differs from the run that was to be made.
        """
        super().__init__(
            f"{folder} holds another run ({'; '.join(differences)}); nothing was changed",
            "choose another folder with --out, or replace that run with --fresh",
        )
        self.folder, self.differences = folder, differences


class FolderBusyError(ZooError):
    """Another process is writing into the folder of a run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"another process is making a run in {folder}; nothing was changed",
            "wait until it is done, or choose another folder with --out",
        )
        self.folder = folder


class InvalidFileError(ZooError):
    """A file's content is not what was expected."""

    def __init__(
        self, path: Path | str, problem: str, hint: str = "check that this is the right file, and whole"
    ) -> None:
        super().__init__(f"{path}: {problem}", hint)
        self.path, self.problem = path, problem


class InputsError(InvalidFileError):
    """Labels or predictions that cannot be scored as they are."""

    lenient_hint: str = ""
    others: int = 0
    """How many more such findings there are."""

    def __init__(self, path: Path, problem: str, hint: str, lenient_hint: str = "") -> None:
        """Describe the file.

        Args:
            path: the file.
            problem: what was expected and found, with the frame and label.
            hint: what to do next.
            lenient_hint: what ``eval --lenient`` does about it; empty where that refuses it too.
        """
        super().__init__(path, problem, hint)
        self.lenient_hint = lenient_hint

    def __str__(self) -> str:
        return super().__str__() + (f" (and {self.others} more such findings)" if self.others else "")


class SubmissionProblem(NamedTuple):
    """One problem of a predictions file that is to be submitted."""

    kind: str
    """What is wrong, as a heading: ``boxes outside the image``."""
    frame: str
    label: str = ""
    """The label's place in its frame, counted from 1; empty where the whole frame is at fault."""
    detail: str = ""

    def __str__(self) -> str:
        place = f"{self.frame}, label {self.label}" if self.label else self.frame
        return f"{place}: {self.detail}" if self.detail else place


class SubmissionError(InvalidFileError):
    """A predictions file that the evaluation server would refuse, or count otherwise than meant."""

    def __init__(self, path: Path, problems: tuple[SubmissionProblem, ...], hint: str) -> None:
        kinds: dict[str, list[SubmissionProblem]] = {}
        for problem in problems:
            kinds.setdefault(problem.kind, []).append(problem)
        lines = "".join(f"\n{len(found):,} {kind}:{list_first(found)}" for kind, found in kinds.items())
        ZooError.__init__(self, f"{path} cannot be submitted{lines}", hint)
        self.path, self.problems = path, problems


def list_first(items: Sequence[object], limit: int = 10, what: str = "") -> str:
    """Return the first items of a long list, each indented on a line of its own, and how many more there are."""
    more = f"\n  and {len(items) - limit:,} more{what and f' {what}'}" if len(items) > limit else ""
    return "".join(f"\n  {item}" for item in items[:limit]) + more


def join_first(names: Sequence[str], kind: str, limit: int = 3) -> str:
    """Return a count and the first names, as in ``4 missing: a, b, c and 1 more``."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{len(names)} {kind}: {', '.join(names[:limit])}{more}"


# Classes that are to be replaced


@dataclass_transform(eq_default=False)
class _Facts(ZooError):  # noqa: N818
    def __init__(self, *facts: object, hint: str = "", **named: object) -> None:
        names = tuple(type(self).__annotations__)
        given = dict(zip(names, facts, strict=False)) | named
        absent = [name for name in names if name not in given and not hasattr(type(self), name)]
        if absent or len(facts) > len(names) or not given.keys() <= set(names):
            raise TypeError(f"{type(self).__name__} takes {', '.join(names) or 'nothing'}")
        Exception.__init__(self, *facts)
        self.hint = hint
        self.__dict__.update(given)


class NoMatchError(_Facts):
    """No model fits every filter that was given."""

    backbones: tuple[str, ...]
    """Those that the zoo has."""
    schedules: tuple[str, ...]
    best_ap: float
    """Highest published box AP on val, 0 to 100."""

    def __str__(self) -> str:
        return "no model fits all of these filters"


class NoAddressError(_Facts, ArtifactError):
    """The zoo lists no address for the artifact."""

    model: str
    what: str

    def __str__(self) -> str:
        return f"the zoo lists no address for the {self.what} of {self.model}"


class CheckUnavailableError(_Facts, ArtifactError):
    """Nothing can tell whether a copy of weights is the model's; it was not taken."""

    model: str
    path: Path
    unverified: str
    """Why no digest can be had."""
    package: str
    """What is needed to look into the file, and does not import."""
    reason: str
    """How its import fails."""

    def __str__(self) -> str:
        look = f"looking into it needs {self.package}, which cannot be imported: {self.reason}"
        return f"{self.path} was not taken as the weights of {self.model}: {self.unverified}; and {look}"


class DownloadsFailedError(_Facts, ArtifactError):
    """Some of the files that were asked for could not be had; the others are in the cache."""

    failures: tuple[ZooError, ...]
    arrived: tuple[Path, ...]
    """Where the others stand."""

    def __str__(self) -> str:
        told = "".join(f"\n- {failure}" for failure in self.failures)
        others = "".join(f"\n  {path}" for path in self.arrived)
        asked = len(self.failures) + len(self.arrived)
        return f"{len(self.failures)} of {asked} files could not be had:{told}" + (
            others and f"\nin the cache:{others}"
        )


class UnsafeArchiveError(_Facts, InvalidFileError):
    """A zip that is damaged, or that would harm where it is unpacked; nothing of it was unpacked."""

    path: Path
    entry: str
    """The name of the entry at fault; empty where the file as a whole is."""
    problem: str

    def __str__(self) -> str:
        entry = f"entry {self.entry!r}: " if self.entry else ""
        return f"{self.path} was not unpacked: {entry}{self.problem}"


class EmptyCacheError(_Facts, ArtifactError):
    """The cache holds no complete file of what was asked for."""

    root: Path
    models: tuple[str, ...]
    """Of which; empty where any would have done."""

    def __str__(self) -> str:
        return f"the cache {self.root} holds no complete file" + (
            f" of {', '.join(self.models)}" if self.models else ""
        )


class FilesExistError(_Facts, StorageError):
    """A folder holds other files under names that were to be written; nothing was."""

    folder: Path
    paths: tuple[Path, ...]

    def __str__(self) -> str:
        told = "".join(f"\n  {path}" for path in self.paths[:10])
        more = f"\n  and {len(self.paths) - 10:,} more" if len(self.paths) > 10 else ""
        return f"{self.folder} holds other files under these names; nothing was written:{told}{more}"


class NoImagesError(_Facts, ImagesError):
    """A path that was given holds no image."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ImageListError(_Facts, ImagesError):
    """A line of a list of images that names none."""

    source: str
    """The text file, or standard input."""
    line: int
    """From 1."""
    problem: str

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}: {self.problem}"


class DuplicateFrameError(_Facts, ImagesError):
    """Two images would share one frame name."""

    name: str
    first: Path
    second: Path

    def __str__(self) -> str:
        return f"two images would be the frame {self.name!r}: {self.first} and {self.second}"


class LabelledImagesError(_Facts, ImagesError):
    """Images that a label file names are missing or damaged."""

    labels: Path
    frames: int
    """How many it names."""
    problems: tuple[str, ...]
    """A line each: the file, and what is wrong with it."""

    def __str__(self) -> str:
        shown = "".join(f"\n  {problem}" for problem in self.problems[:10])
        more = f"\n  and {len(self.problems) - 10:,} more" if len(self.problems) > 10 else ""
        return f"{len(self.problems):,} of {self.frames:,} images of {self.labels} cannot be read:{shown}{more}"


class ImageChangedError(_Facts, ImagesError):
    """A file that is gone, or another one, since it was found: what would be computed were no part of the run."""

    path: Path
    reason: str
    """``is gone`` or ``has changed``."""

    def __str__(self) -> str:
        return f"{self.path} {self.reason} since the run began"


class ImageShapeError(_Facts, ImagesError):
    """What was given as an image is not one that the detector can take."""

    shape: str
    """Of an array its type and shape, ``uint8 [1, 5000, 3]``; of anything else its kind."""
    problem: str

    def __str__(self) -> str:
        return f"{self.shape}: {self.problem}"


class FrameNameError(_Facts, InvalidFileError):
    """A frame name that is absolute or leaves its folder."""

    name: str

    def __str__(self) -> str:
        return f"the frame name {self.name!r} is not a relative path inside its folder, in plain text"


class CheckpointMismatchError(_Facts, CheckpointError):
    """The parameters in the file are not those of the model."""

    model: str
    path: Path
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    """``name: (shape in the file) instead of (shape in the model)``."""
    unusable: tuple[str, ...] = ()
    """``name: what is wrong with its values``."""

    def __str__(self) -> str:
        kinds = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.reshaped),
            ("with values that cannot be used", self.unusable),
        )
        found = "; ".join(join_first(names, kind) for kind, names in kinds if names)
        return f"{self.path} does not fit {self.model}: {found}"


class CheckpointClassesError(_Facts, CheckpointError):
    """The class names that a file of weights records are not those of its ten outputs here."""

    path: Path
    expected: tuple[str, ...]
    found: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path}: expected the classes {', '.join(self.expected)}; found {', '.join(self.found)}"


class UnsupportedOpError(_Facts, BackendError):
    """A compiled op of mmcv that neither mmcv nor torchvision serves here."""

    op: str
    detail: str = ""

    def __str__(self) -> str:
        return f"mmcv's op {self.op!r} has no substitute here" + (f": {self.detail}" if self.detail else "")


class PrecisionError(_Facts, DeviceError):
    """An arithmetic that there is not, or that a device does not have."""

    precision: str
    device: str
    reason: str

    def __str__(self) -> str:
        return f"the device {self.device!r} cannot compute in {self.precision}: {self.reason}"


class LauncherError(_Facts, SettingsError):
    """The variables of what is said to have started this process are missing, or make no sense."""

    launcher: str
    """``pytorch``, ``slurm`` or ``mpi``."""
    problem: str

    def __str__(self) -> str:
        return f"this process cannot be one that the launcher {self.launcher!r} has started: {self.problem}"


class WorkerKilledError(_Facts, WorkerFailedError):
    """Of the processes that shared some work, one was ended from outside; what is done is kept."""

    folder: Path
    """Where it was writing."""

    def __str__(self) -> str:
        return f"a process that was writing into {self.folder} was ended from outside, perhaps for want of memory"


class PeerLostError(_Facts, WorkerFailedError):
    """Processes train together, and one of the others is gone."""

    rank: int
    """Of the process that tells."""
    reason: str

    def __str__(self) -> str:
        return f"process {self.rank} of the training has lost another one: {self.reason}"


class WrongFileError(_Facts, InputsError):
    """A file of another kind."""

    path: Path
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, found {self.found}"


class BrokenFileError(_Facts, InputsError):
    """A file that is empty, cut off, or otherwise no JSON."""

    path: Path
    problem: str
    position: int
    """The byte at which reading stopped, counted from 0."""

    def __str__(self) -> str:
        return f"{self.path}: {self.problem} (at byte {self.position})"


class BadFrameError(_Facts, InputsError):
    """A frame that is no frame, or that stands twice in the predictions or labels."""

    lenient_hint = "`eval --lenient` does as the official tool: of duplicates the last wins"

    path: Path
    frame: str
    problem: str
    others: int = 0
    """How many more findings there are."""

    def __str__(self) -> str:
        return f"{self.path}: frame {self.frame}: {self.problem}{_and_others(self.others)}"


class BadLabelError(_Facts, InputsError):
    """A label that cannot be scored, or only by guessing what was meant."""

    lenient_hint = "`eval --lenient` accepts what the official tool accepts"

    path: Path
    frame: str
    label: str
    """Its id and its place in the frame, counted from 1."""
    problem: str
    others: int = 0
    """How many more findings there are."""

    def __str__(self) -> str:
        return f"{self.path}: frame {self.frame}: label {self.label}: {self.problem}{_and_others(self.others)}"


class UnlikelyBoxesError(_Facts, InputsError):
    """Labels or predictions that cannot be meant as they are: without any box, or with boxes that are not in pixels."""

    lenient_hint = "`eval --lenient` scores it all the same"

    path: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class FramesDifferError(_Facts, InputsError):
    """The predictions are not of exactly the labelled frames."""

    lenient_hint = "`eval --lenient` scores what there is"

    predictions: Path
    labels: Path
    missing: tuple[str, ...]
    """Frames of the labels that the predictions lack."""
    unknown: tuple[str, ...]
    """Frames of the predictions that the labels lack."""

    def __str__(self) -> str:
        kinds = (("missing", self.missing), ("not in the labels", self.unknown))
        found = "; ".join(join_first(names, f"frames {kind}") for kind, names in kinds if names)
        return f"{self.predictions} is not of exactly the frames of {self.labels}: {found}"


class StaleBlockError(_Facts, InvalidFileError):
    """A generated block of a file is missing or not up to date."""

    path: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class UnfinishedRunError(_Facts, InvalidFileError):
    """A run was to be put together from its journals, and they do not hold all of its frames."""

    folder: Path
    total: int
    missing: tuple[str, ...]
    """Ranges of frames, counted from 1 in the order of their names."""

    def __str__(self) -> str:
        ranges = "".join(f"\n  {each}" for each in self.missing[:10])
        more = f"\n  and {len(self.missing) - 10:,} more ranges" if len(self.missing) > 10 else ""
        return f"{self.folder} does not hold all of {self.total:,} frames yet; missing are{ranges}{more}"


class NoCheckpointError(_Facts, InvalidFileError):
    """A training was to go on from its last checkpoint, and there is none."""

    folder: Path

    def __str__(self) -> str:
        return f"{self.folder} holds no checkpoint to go on from"


class DivergedError(_Facts):
    """A training whose loss is no finite number any more; its checkpoints are from before."""

    epoch: int
    step: int
    """From 1, over all epochs."""
    loss: float

    def __str__(self) -> str:
        return f"the loss of step {self.step:,} (epoch {self.epoch}) is {self.loss}: the training has diverged"


class NoRunsError(_Facts, InputsError):
    """There is no run that could be evaluated, or whose scores could be shown."""

    folder: Path
    problem: str
    split: str
    left_out: tuple[str, ...] = ()
    """The runs that there are, each with what is wrong with it."""

    def __str__(self) -> str:
        return "\n  ".join((f"{self.folder} {self.problem}", *self.left_out))


class NoLabelsError(_Facts, InputsError):
    """There are no labels to evaluate against."""

    split: str
    path: Any
    """Where they were expected; None where nothing says where the dataset is."""

    def __str__(self) -> str:
        where = f"there is no file {self.path}" if self.path else "neither --labels nor the dataset's root is given"
        return f"no labels of {self.split}: {where}"


def _and_others(count: int) -> str:
    return f" (and {count} more such findings)" if count else ""
