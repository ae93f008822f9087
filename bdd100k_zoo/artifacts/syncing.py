"""Having a large file on the disk by the time that its last byte is written."""

from __future__ import annotations

import os
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

STRIDE = 64 << 20
"""Bytes after which what was written is sent on its way to the disk."""


class EarlySync:
    """Syncs an open file every STRIDE bytes in a thread, so that the sync at its end has little left to do."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unsynced = 0
        self._due: SimpleQueue[bool] = SimpleQueue()
        self._thread: Thread | None = None

    def count(self, amount: int) -> None:
        """Count bytes that were written."""
        self._unsynced += amount
        if self._unsynced < STRIDE:
            return
        self._unsynced = 0
        if self._thread is None:
            self._thread = Thread(target=self._run, name="early-sync", daemon=True)
            self._thread.start()
        self._due.put(True)

    def _run(self) -> None:
        sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync
        while self._due.get():
            with suppress(OSError):  # the sync at the end tells
                sync(self._descriptor)

    def close(self) -> None:
        """End the thread, before the file is closed."""
        if self._thread is not None:
            self._due.put(False)
            self._thread.join()
            self._thread = None
