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
    │   └── UnreadableImageError   a file is not a complete image
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

    from typing_extensions import Self

DOCUMENTATION = "https://bdd100k-zoo.readthedocs.io"
"""Where docs/ is published, as in the package's metadata: an installed package has no docs/."""


def docs_page(name: str) -> str:
    """Return the address of a page of the documentation: that of docs/NAME.md on the site."""
    return f"{DOCUMENTATION}/{name}/"


class ZooError(Exception):
    """Base of all errors that this package raises on purpose."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with all attributes, so that an error arrives complete from a worker process."""
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
            f"correct it in {file}; {docs_page('contributing')} has a worked example",
        )
        self.file, self.entry, self.field, self.problem = file, entry, field, problem


class UnknownNameError(ZooError, KeyError):
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

    __str__ = Exception.__str__  # that of KeyError would quote the message


class MissingPackageError(ZooError):
    """A job needs a package of an extra that is not installed or does not import.

    The command line replaces the hint by the repair for the environment that it runs in.
    """

    def __init__(self, package: str, extra: str, reason: str) -> None:
        """Describe the package; ``extra`` is empty for a package that no extra of this one installs."""
        hint = f"install it with `pip install 'bdd100k-zoo[{extra}]'`; `bdd100k-zoo doctor` examines all"
        if not extra:
            hint = f"install it with `pip install {package}`"
        super().__init__(f"{package} is needed and cannot be imported: {reason}", hint)
        self.package, self.extra, self.reason = package, extra, reason


class BackendError(ZooError):
    """The requested backend is not installed, or lacks an op."""


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

    def __init__(self, model: str, what: str, attempts: tuple[TransferAttempt, ...], kept: int, hint: str) -> None:
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

    def __init__(self, subject: str, expected: str, found: str, source: str, hint: str) -> None:
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
    """A file is not a complete image."""

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
            f"{path} was not loaded: {reason}", hint or "only complete files of tensors are loaded: give another copy"
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
