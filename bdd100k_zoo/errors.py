"""Every error a user can cause or meet.

    ZooError
    ├── ManifestError              a zoo file breaks its schema
    ├── UnknownNameError           no model or family of that name
    ├── NoMatchError               no model fits the filters
    ├── MissingPackageError        an extra is not installed
    ├── BackendError               a backend that is not the installed one
    ├── SettingsError              a setting of the environment or the configuration file that cannot be
    ├── ArtifactError              about one artifact of one model
    │   ├── NoAddressError         the zoo lists none for it
    │   ├── OfflineError           it is not cached and nothing may be contacted
    │   ├── TransferError          every address failed
    │   ├── DigestMismatchError    the bytes are not those of the digest
    │   ├── DownloadsFailedError   more than one of the files that were asked for
    │   ├── UnverifiedError        a digest was required and none verifies the file
    │   └── CheckUnavailableError  neither a digest nor the backend can tell whether a copy is the model's
    ├── EmptyCacheError            the cache holds nothing of what was asked for
    ├── FilesExistError            a folder holds other files under the names that are to be written
    ├── UnsafeArchiveError         a zip that is damaged, or that would harm where it is unpacked
    ├── StorageError               the disk is full, a folder cannot be written
    ├── ImagesError
    │   ├── NoImagesError          a path holds none
    │   ├── ImageListError         a line of a list names none
    │   ├── DuplicateFrameError    two images would share one frame name
    │   ├── UnreadableImageError   a file that is no whole image
    │   ├── LabelledImagesError    images of a label file are missing or damaged
    │   ├── ImageChangedError      a file that is gone, or another one, since it was found
    │   └── ImageShapeError        pixels that a detector cannot take
    ├── FrameNameError             absolute, or leaves its folder
    ├── ConfigError                a config cannot be read or overridden so
    ├── CheckpointError
    │   ├── UnsafeCheckpointError  it is damaged, something else, or more than tensors and plain values
    │   ├── CheckpointMismatchError  its parameters are not the model's, or hold no usable values
    │   └── CheckpointClassesError its classes are not BDD100K's, in their order
    ├── NotFiniteError             a model gave NaN or infinity for an image
    ├── UnsupportedOpError         an op that no installed library serves
    ├── DeviceError                a device that this machine lacks
    ├── PrecisionError             an arithmetic that the device does not have
    ├── LauncherError              what should have started this process has not
    ├── WorkerFailedError          one of several processes failed for good
    ├── PeerLostError              another process of a training is gone
    ├── WorkerKilledError          one of several processes was ended from outside
    ├── RecordError                a file of ours or the user's that is not what it should be
    ├── InputsError                labels or predictions that cannot be scored as they are
    │   ├── WrongFileError         a file of another kind
    │   ├── BrokenFileError        empty, cut off, or no JSON
    │   ├── BadFrameError          a frame without a name, or twice
    │   ├── BadLabelError          a label with an unknown category, without a score, with an impossible box
    │   ├── UnlikelyBoxesError     not one box, or boxes that are no pixels
    │   └── FramesDifferError      the predictions are not of exactly the frames of the labels
    ├── SubmissionError            predictions that the evaluation server would refuse or miscount
    ├── StaleBlockError            a generated block is missing or not up to date
    ├── NoRunsError                there is no run to evaluate
    ├── NoLabelsError              no labels to evaluate against
    ├── RunMismatchError           a folder holds another run
    ├── UnfinishedRunError         frames of a run are missing that was to be put together
    ├── NoCheckpointError          a training was to go on, and nothing of it is there
    ├── DivergedError              a training whose loss is no finite number any more
    └── FolderBusyError            another process is at work in a folder

Errors carry facts as attributes; ``str()`` says what was expected and what was found. What to do next is the command
line's to say (``bdd100k_zoo.cli.hints``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        """Mean nothing at run time: type checkers alone need it."""
        return lambda kind: kind


@dataclass_transform(eq_default=False)
class ZooError(Exception):
    """Base of all errors that this package raises on purpose.

    A subclass lists its facts as annotations; they are its constructor's arguments, in that order. (Dataclasses would
    say the same, but generating them would take a tenth of the time in which the command line starts.)
    """

    def __init__(self, *facts: object, **named: object) -> None:
        names = tuple(type(self).__annotations__)
        given = dict(zip(names, facts, strict=False)) | named
        absent = [name for name in names if name not in given and not hasattr(type(self), name)]
        if absent or len(facts) > len(names) or not given.keys() <= set(names):
            raise TypeError(f"{type(self).__name__} takes {', '.join(names) or 'nothing'}")
        super().__init__(*facts)
        self.__dict__.update(given)

    def __reduce__(self) -> tuple[type[ZooError], tuple[object, ...]]:
        """Pickle by the facts, so that an error crosses process borders whole."""
        return type(self), tuple(getattr(self, name) for name in type(self).__annotations__)


class ManifestError(ZooError):
    """A zoo file breaks its schema."""

    file: Path
    entry: str
    """The family's or model's name, or its place in the file where it has none."""
    field: str
    """The field at fault; empty where the entry as a whole is."""
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: " + ": ".join(part for part in (self.entry, self.field, self.problem) if part)


class UnknownNameError(ZooError):
    """No model, or no family, has that name."""

    kind: str
    """``model`` or ``family``."""
    name: str
    nearest: tuple[str, ...]
    """Names that the user may have meant, best first."""

    def __str__(self) -> str:
        return f"the zoo has no {self.kind} {self.name!r}"


class NoMatchError(ZooError):
    """No model fits every filter that was given."""

    backbones: tuple[str, ...]
    """Those that the zoo has."""
    schedules: tuple[str, ...]
    best_ap: float
    """Highest published box AP on val, 0 to 100."""

    def __str__(self) -> str:
        return "no model fits all of these filters"


class MissingPackageError(ZooError):
    """A job needs packages of an extra that is not installed, or that do not import."""

    package: str
    extra: str
    reason: str

    def __str__(self) -> str:
        return f"{self.package} is needed and cannot be imported: {self.reason}"


class BackendError(ZooError):
    """A backend was asked for by name that is not the one whose mmdet is installed."""

    backend: str
    problem: str

    def __str__(self) -> str:
        return f"the backend {self.backend!r} cannot be used: {self.problem}"


class SettingsError(ZooError):
    """A setting, of the environment or of the configuration file, that cannot be."""

    setting: str
    """The variable's name, or the file, with the place in it where one is at fault."""
    value: str
    """As the user wrote it, secrets aside; empty where the setting as a whole is at fault."""
    problem: str
    """In words that follow the value."""

    def __str__(self) -> str:
        value = f"{self.value!r} " if self.value else ""
        return f"{self.setting}: {value}{self.problem}"


class ArtifactError(ZooError):
    """Something about one artifact (weights, predictions, …) of one model."""


class NoAddressError(ArtifactError):
    """The zoo lists no address for the artifact."""

    model: str
    what: str

    def __str__(self) -> str:
        return f"the zoo lists no address for the {self.what} of {self.model}"


class OfflineError(ArtifactError):
    """The artifact is not in the cache, and nothing may be contacted."""

    model: str
    what: str
    path: Path

    def __str__(self) -> str:
        return f"the {self.what} of {self.model} are not in the cache ({self.path}), and offline mode contacts nothing"


class TransferAttempt(NamedTuple):
    """One address that was tried, and how it answered."""

    address: str
    outcome: str


class TransferError(ArtifactError):
    """Every address of an artifact failed."""

    model: str
    what: str
    attempts: tuple[TransferAttempt, ...]
    kept: int = 0
    """Bytes that have arrived, and from which the next try goes on."""

    def __str__(self) -> str:
        tried = "".join(f"\n  {attempt.address}\n    {attempt.outcome}" for attempt in self.attempts)
        kept = f"\n{self.kept:,} bytes have arrived and are kept; the next try goes on from there" if self.kept else ""
        return f"the {self.what} of {self.model} could not be downloaded; tried:{tried}{kept}"


class DigestMismatchError(ArtifactError):
    """Bytes are not those of the digest: of a download nothing is kept, a file that stood there stays."""

    subject: str
    """What was checked: an address or a file."""
    expected: str
    found: str
    source: str
    """Where the expected digest comes from."""

    def __str__(self) -> str:
        return f"{self.subject}: expected {self.expected} (from {self.source}), found {self.found}"


class UnverifiedError(ArtifactError):
    """A digest was required, and none verifies the file."""

    model: str
    what: str
    reason: str

    def __str__(self) -> str:
        return f"the {self.what} of {self.model} cannot be verified: {self.reason}"


class CheckUnavailableError(ArtifactError):
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


class DownloadsFailedError(ArtifactError):
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


class UnsafeArchiveError(ZooError):
    """A zip that is damaged, or that would harm where it is unpacked; nothing of it was unpacked."""

    path: Path
    entry: str
    """The name of the entry at fault; empty where the file as a whole is."""
    problem: str

    def __str__(self) -> str:
        entry = f"entry {self.entry!r}: " if self.entry else ""
        return f"{self.path} was not unpacked: {entry}{self.problem}"


class EmptyCacheError(ZooError):
    """The cache holds no complete file of what was asked for."""

    root: Path
    models: tuple[str, ...]
    """Of which; empty where any would have done."""

    def __str__(self) -> str:
        return f"the cache {self.root} holds no complete file" + (
            f" of {', '.join(self.models)}" if self.models else ""
        )


class FilesExistError(ZooError):
    """A folder holds other files under names that were to be written; nothing was."""

    folder: Path
    paths: tuple[Path, ...]

    def __str__(self) -> str:
        told = "".join(f"\n  {path}" for path in self.paths[:10])
        more = f"\n  and {len(self.paths) - 10:,} more" if len(self.paths) > 10 else ""
        return f"{self.folder} holds other files under these names; nothing was written:{told}{more}"


class StorageError(ZooError):
    """A file could not be written or read."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ImagesError(ZooError):
    """Something about the images that a run was given."""


class NoImagesError(ImagesError):
    """A path that was given holds no image."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ImageListError(ImagesError):
    """A line of a list of images that names none."""

    source: str
    """The text file, or standard input."""
    line: int
    """From 1."""
    problem: str

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}: {self.problem}"


class DuplicateFrameError(ImagesError):
    """Two images would share one frame name."""

    name: str
    first: Path
    second: Path

    def __str__(self) -> str:
        return f"two images would be the frame {self.name!r}: {self.first} and {self.second}"


class UnreadableImageError(ImagesError):
    """A file that is not one whole image."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class LabelledImagesError(ImagesError):
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


class ImageChangedError(ImagesError):
    """A file that is gone, or another one, since it was found: what would be computed were no part of the run."""

    path: Path
    reason: str
    """``is gone`` or ``has changed``."""

    def __str__(self) -> str:
        return f"{self.path} {self.reason} since the run began"


class ImageShapeError(ImagesError):
    """What was given as an image is not one that the detector can take."""

    shape: str
    """Of an array its type and shape, ``uint8 [1, 5000, 3]``; of anything else its kind."""
    problem: str

    def __str__(self) -> str:
        return f"{self.shape}: {self.problem}"


class FrameNameError(ZooError):
    """A frame name that is absolute or leaves its folder."""

    name: str

    def __str__(self) -> str:
        return f"the frame name {self.name!r} is not a relative path inside its folder, in plain text"


class ConfigError(ZooError):
    """A model config that cannot be read, or cannot be overridden in that way."""

    config: str
    problem: str

    def __str__(self) -> str:
        return f"{self.config}: {self.problem}"


class CheckpointError(ZooError):
    """Something about a file of weights."""


class UnsafeCheckpointError(CheckpointError):
    """A file of weights that is refused: it is damaged, something else, or holds more than tensors and plain values.

    Nothing in it was run.
    """

    path: Path
    reason: str
    hint: str = ""
    """What to do about this file; empty where there is nothing better than another copy."""

    def __str__(self) -> str:
        return f"{self.path} was not loaded: {self.reason}"


class CheckpointMismatchError(CheckpointError):
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
        found = "; ".join(_first_few(names, kind) for kind, names in kinds if names)
        return f"{self.path} does not fit {self.model}: {found}"


class CheckpointClassesError(CheckpointError):
    """The class names that a file of weights records are not those of its ten outputs here."""

    path: Path
    expected: tuple[str, ...]
    found: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path}: expected the classes {', '.join(self.expected)}; found {', '.join(self.found)}"


def _first_few(names: tuple[str, ...], kind: str, limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{len(names)} {kind}: {', '.join(names[:limit])}{more}"


class NotFiniteError(ZooError):
    """A model gave NaN or infinity for an image."""

    model: str
    precision: str
    image: str = ""
    """Empty where only pixels were given."""

    def __str__(self) -> str:
        place = f" for {self.image}" if self.image else ""
        return f"{self.model} gave NaN or infinite scores or boxes{place}, computing in {self.precision}"


class UnsupportedOpError(ZooError):
    """A compiled op of mmcv that neither mmcv nor torchvision serves here."""

    op: str
    detail: str = ""

    def __str__(self) -> str:
        return f"mmcv's op {self.op!r} has no substitute here" + (f": {self.detail}" if self.detail else "")


class DeviceError(ZooError):
    """A device that this machine or this build of torch lacks."""

    device: str
    reason: str
    out_of_memory: bool = False
    """Its memory does not suffice: less work at once may still fit."""

    def __str__(self) -> str:
        return f"the device {self.device!r} cannot be used: {self.reason}"


class PrecisionError(ZooError):
    """An arithmetic that there is not, or that a device does not have."""

    precision: str
    device: str
    reason: str

    def __str__(self) -> str:
        return f"the device {self.device!r} cannot compute in {self.precision}: {self.reason}"


class LauncherError(ZooError):
    """The variables of what is said to have started this process are missing, or make no sense."""

    launcher: str
    """``pytorch``, ``slurm`` or ``mpi``."""
    problem: str

    def __str__(self) -> str:
        return f"this process cannot be one that the launcher {self.launcher!r} has started: {self.problem}"


class WorkerFailedError(ZooError):
    """Of the processes that were started to share a run, one failed again and again."""

    folder: Path
    status: int
    """What they ended with."""

    def __str__(self) -> str:
        return f"the processes that shared the run in {self.folder} ended with status {self.status}"


class WorkerKilledError(ZooError):
    """Of the processes that shared some work, one was ended from outside; what is done is kept."""

    folder: Path
    """Where it was writing."""

    def __str__(self) -> str:
        return f"a process that was writing into {self.folder} was ended from outside, perhaps for want of memory"


class PeerLostError(ZooError):
    """Processes train together, and one of the others is gone."""

    rank: int
    """Of the process that tells."""
    reason: str

    def __str__(self) -> str:
        return f"process {self.rank} of the training has lost another one: {self.reason}"


class RecordError(ZooError):
    """A file (predictions, labels, run record) that is not what it should be."""

    path: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class InputsError(ZooError):
    """Something about the labels or predictions that were given to be scored."""


class WrongFileError(InputsError):
    """A file of another kind."""

    path: Path
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, found {self.found}"


class BrokenFileError(InputsError):
    """A file that is empty, cut off, or otherwise no JSON."""

    path: Path
    problem: str
    position: int
    """The byte at which reading stopped, counted from 0."""

    def __str__(self) -> str:
        return f"{self.path}: {self.problem} (at byte {self.position})"


class BadFrameError(InputsError):
    """A frame that is no frame, or that stands twice in the predictions or labels."""

    path: Path
    frame: str
    problem: str
    others: int = 0
    """How many more findings there are."""

    def __str__(self) -> str:
        return f"{self.path}: frame {self.frame}: {self.problem}{_and_others(self.others)}"


class BadLabelError(InputsError):
    """A label that cannot be scored, or only by guessing what was meant."""

    path: Path
    frame: str
    label: str
    """Its id and its place in the frame, counted from 1."""
    problem: str
    others: int = 0
    """How many more findings there are."""

    def __str__(self) -> str:
        return f"{self.path}: frame {self.frame}: label {self.label}: {self.problem}{_and_others(self.others)}"


def _and_others(count: int) -> str:
    return f" (and {count} more such findings)" if count else ""


class UnlikelyBoxesError(InputsError):
    """Labels or predictions that cannot be meant as they are: without any box, or with boxes that are not in pixels."""

    path: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class FramesDifferError(InputsError):
    """The predictions are not of exactly the labelled frames."""

    predictions: Path
    labels: Path
    missing: tuple[str, ...]
    """Frames of the labels that the predictions lack."""
    unknown: tuple[str, ...]
    """Frames of the predictions that the labels lack."""

    def __str__(self) -> str:
        kinds = (("missing", self.missing), ("not in the labels", self.unknown))
        found = "; ".join(_first_few(names, f"frames {kind}") for kind, names in kinds if names)
        return f"{self.predictions} is not of exactly the frames of {self.labels}: {found}"


class SubmissionProblem(NamedTuple):
    """One thing about a predictions file that must not be handed in."""

    kind: str
    """What is wrong, as a heading: ``boxes outside the image``."""
    frame: str
    label: str = ""
    """The label's place in its frame, counted from 1; empty where the whole frame is at fault."""
    detail: str = ""

    def __str__(self) -> str:
        place = f"{self.frame}, label {self.label}" if self.label else self.frame
        return f"{place}: {self.detail}" if self.detail else place


class SubmissionError(ZooError):
    """A predictions file that the evaluation server would refuse, or count otherwise than meant."""

    path: Path
    problems: tuple[SubmissionProblem, ...]

    def __str__(self) -> str:
        kinds: dict[str, list[SubmissionProblem]] = {}
        for problem in self.problems:
            kinds.setdefault(problem.kind, []).append(problem)
        told = "".join(f"\n{len(found):,} {kind}:{_first_lines(found)}" for kind, found in kinds.items())
        return f"{self.path} is not fit to be handed in{told}"


def _first_lines(problems: list[SubmissionProblem], limit: int = 10) -> str:
    more = f"\n  and {len(problems) - limit:,} more" if len(problems) > limit else ""
    return "".join(f"\n  {problem}" for problem in problems[:limit]) + more


class StaleBlockError(ZooError):
    """A generated block of a file is missing or not up to date."""

    path: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class RunMismatchError(ZooError):
    """The folder for a run already holds another one."""

    folder: Path
    differences: tuple[str, ...]
    """What tells it from the run that was to be made."""

    def __str__(self) -> str:
        return f"{self.folder} holds another run ({'; '.join(self.differences)}); nothing was changed"


class UnfinishedRunError(ZooError):
    """A run was to be put together from its journals, and they do not hold all of its frames."""

    folder: Path
    total: int
    missing: tuple[str, ...]
    """Ranges of frames, counted from 1 in the order of their names."""

    def __str__(self) -> str:
        ranges = "".join(f"\n  {each}" for each in self.missing[:10])
        more = f"\n  and {len(self.missing) - 10:,} more ranges" if len(self.missing) > 10 else ""
        return f"{self.folder} does not hold all of {self.total:,} frames yet; missing are{ranges}{more}"


class NoCheckpointError(ZooError):
    """A training was to go on from its last checkpoint, and there is none."""

    folder: Path

    def __str__(self) -> str:
        return f"{self.folder} holds no checkpoint to go on from"


class DivergedError(ZooError):
    """A training whose loss is no finite number any more; its checkpoints are from before."""

    epoch: int
    step: int
    """From 1, over all epochs."""
    loss: float

    def __str__(self) -> str:
        return f"the loss of step {self.step:,} (epoch {self.epoch}) is {self.loss}: the training has diverged"


class FolderBusyError(ZooError):
    """Another process is writing into the folder for a run."""

    folder: Path

    def __str__(self) -> str:
        return f"another process is making a run in {self.folder}; nothing was changed"


class NoRunsError(ZooError):
    """There is no run that could be evaluated, or whose scores could be shown."""

    folder: Path
    problem: str
    split: str
    left_out: tuple[str, ...] = ()
    """The runs that there are, each with what is wrong with it."""

    def __str__(self) -> str:
        return "\n  ".join((f"{self.folder} {self.problem}", *self.left_out))


class NoLabelsError(ZooError):
    """There are no labels to evaluate against."""

    split: str
    path: Path | None
    """Where they were expected; None where nothing says where the dataset is."""

    def __str__(self) -> str:
        where = f"there is no file {self.path}" if self.path else "neither --labels nor the dataset's root is given"
        return f"no labels of {self.split}: {where}"
