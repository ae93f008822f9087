"""Errors: complete after pickling, each with a hint, listed as a tree at the top of their module."""

from __future__ import annotations

import copy
import errno
import pickle
import re
import traceback
from pathlib import Path

import pytest

from bdd100k_zoo import errors
from bdd100k_zoo.cli.output import explain
from bdd100k_zoo.errors import SubmissionProblem, TransferAttempt, ZooError

PATH = Path("some where/det.json")
HINT = "do this next"

EXAMPLES: tuple[ZooError, ...] = (
    ZooError("no model fits all of these filters", HINT),
    errors.ManifestError(PATH, "model_a", "weights", "expected an address"),
    errors.UnknownNameError("model", "fcos", ("fcos_r50_fpn_1x",)),
    errors.MissingPackageError("torch", "predict", "No module named 'torch'"),
    errors.BackendError("mmcv's op 'x' has no substitute here", HINT),
    errors.SettingsError("BDD100K_ZOO_MIRRORS", "ftp://x", "has another scheme", HINT),
    errors.ArtifactError("the zoo lists no address for the weights of model_a", HINT),
    errors.OfflineError("the weights of model_a are not in the cache", HINT),
    errors.TransferError("model_a", "weights", (TransferAttempt("https://far.example/x", "404"),), 1_234, HINT),
    errors.DigestMismatchError("a.pth", "md5:a", "md5:b", "the zoo file", HINT),
    errors.UnverifiedError("model_a", "weights", "the publisher lists none"),
    errors.StorageError(PATH, "No space left on device"),
    errors.ImagesError("frames: holds no image", HINT),
    errors.UnreadableImageError(PATH, "is truncated"),
    errors.ConfigError("model_a", "has no key x"),
    errors.CheckpointError("a.pth does not fit model_a", HINT),
    errors.UnsafeCheckpointError(PATH, "it names a function"),
    errors.NotFiniteError("model_a", "fp16", "a.jpg"),
    errors.DeviceError("cuda:0", "out of memory", out_of_memory=True),
    errors.WorkerFailedError("the processes ended with status 137", HINT, 137),
    errors.RunMismatchError(PATH, ("another model",)),
    errors.FolderBusyError(PATH),
    errors.InvalidFileError(PATH, "is not JSON"),
    errors.InputsError(PATH, "frame a.jpg: has no name", HINT, "`eval --lenient` accepts it"),
    errors.SubmissionError(PATH, (SubmissionProblem("boxes outside the image", "a.jpg", "3", "x2 is 1300.0"),), HINT),
)


def subclasses(kind: type[ZooError]) -> list[type[ZooError]]:
    return [each for child in kind.__subclasses__() for each in (child, *subclasses(child))]


EVERY = {kind for kind in subclasses(ZooError) if kind.__module__ == errors.__name__}
by_class = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)


def documented_tree() -> dict[str, str]:
    """Class by class, its parent in the tree at the module's top."""
    parents: dict[str, str] = {}
    stack = ["ZooError"]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r" {4}((?:│   | {4})*)[├└]── (\w+)", line):
            depth = len(found[1]) // 4 + 1
            del stack[depth:]
            parents[found[2]] = stack[-1]
            stack.append(found[2])
    return parents


def test_the_tree_in_the_docstring_lists_exactly_the_classes_that_exist() -> None:
    assert documented_tree() == {kind.__name__: kind.__base__.__name__ for kind in EVERY if kind.__base__}
    assert {type(error) for error in EXAMPLES} == {ZooError, *EVERY}
    assert len(EXAMPLES) <= 25


@by_class
def test_an_error_is_pickled_with_all_that_it_carries(error: ZooError) -> None:
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)


@by_class
def test_an_error_has_a_message_and_a_hint_and_is_shown_with_its_class(error: ZooError) -> None:
    assert str(error)
    assert "<" not in str(error)
    assert error.hint == error.hint.strip() != ""
    shown = "".join(traceback.format_exception_only(type(error), error))
    assert shown.startswith(f"bdd100k_zoo.errors.{type(error).__name__}: {error}")
    if not isinstance(error, errors.MissingPackageError):
        assert explain(error) == (str(error), error.hint)


def test_the_hint_about_a_missing_package_is_the_repair_of_this_environment() -> None:
    _, hint = explain(errors.MissingPackageError("torchvision", "predict", "operator torchvision::nms does not exist"))
    assert "install torch==" in hint
    assert "`bdd100k-zoo doctor`" in hint


def test_a_failed_transfer_names_every_address_and_its_answer() -> None:
    attempts = (TransferAttempt("https://far.example/x", "404"), TransferAttempt("https://near.example/x", "no route"))
    message = str(errors.TransferError("model_a", "weights", attempts, 1_234, HINT))
    assert message.splitlines()[1:5] == [
        "  https://far.example/x",
        "    404",
        "  https://near.example/x",
        "    no route",
    ]
    assert "1,234 bytes have arrived" in message


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "free some space"), (errno.ENOMEM, "memory"), (errno.EACCES, "path exists")]
)
def test_the_hint_about_a_file_depends_on_what_the_system_answered(number: int, hint: str) -> None:
    assert hint in errors.StorageError.from_os_error(PATH, OSError(number, "an answer")).hint


def test_long_lists_are_cut_and_the_rest_is_counted() -> None:
    assert errors.join_first("abcd", "missing") == "4 missing: a, b, c and 1 more"
    assert errors.join_first("ab", "missing") == "2 missing: a, b"
    assert errors.list_first(list(range(12))) == "".join(f"\n  {n}" for n in range(10)) + "\n  and 2 more"


def test_what_eval_accepts_with_lenient_is_mentioned_where_that_option_exists() -> None:
    error = errors.InputsError(
        PATH, "frame a.jpg: appears twice", "correct the file", "`eval --lenient` takes the last"
    )
    assert explain(error, lenient=False)[1] == "correct the file; `eval --lenient` takes the last"
    assert explain(error, lenient=True)[1] == explain(error, lenient=None)[1] == "correct the file"


def test_an_error_of_the_system_is_about_its_file_and_any_other_exception_is_a_bug() -> None:
    message, hint = explain(FileNotFoundError(errno.ENOENT, "No such file", "a.jpg"))
    assert message == "a.jpg: No such file"
    assert hint == errors.CHECK_PATH
    message, hint = explain(KeyError("x"))
    assert "KeyError" in message
    assert "bug" in hint
