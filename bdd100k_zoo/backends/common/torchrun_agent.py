"""Run torchrun's elastic agent with less output: it exits with a status and prints no traceback.

python -m bdd100k_zoo.backends.common.torchrun_agent [OPTIONS OF TORCHRUN] -m MODULE [ARGUMENTS]
"""

from __future__ import annotations

import logging
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

from bdd100k_zoo.child_processes import exit_with_stdin

if __name__ == "__main__":
    exit_with_stdin()
    for name in ("agent.server.api", "multiprocessing.api"):
        logging.getLogger(f"torch.distributed.elastic.{name}").setLevel(logging.ERROR)
    try:
        main()
    except SignalException as error:
        sys.exit(128 + int(error.sigval))
    except ChildFailedError:
        sys.exit(1)
