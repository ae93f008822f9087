from __future__ import annotations

import pytest

from bdd100k_zoo.errors import SettingsError
from bdd100k_zoo.prediction.launch import ProcessRank
from bdd100k_zoo.training.distributed import rendezvous_address

TWO = ProcessRank(0, 2, 0)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"MASTER_ADDR": "far", "MASTER_PORT": "1234"}, ("far", 1234)),
        ({"MASTER_ADDR": "far"}, ("far", 29500)),
        ({"SLURM_STEP_NODELIST": "node7", "SLURM_JOB_ID": "12"}, ("node7", 29512)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, ("127.0.0.1", 29500)),
    ],
)
def test_launchers_say_where_processes_meet(environment: dict[str, str], expected: tuple[str, int]) -> None:
    assert rendezvous_address(environment, TWO) == expected


@pytest.mark.parametrize("environment", [{}, {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}])
def test_where_nothing_says_it_that_is_an_error(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="MASTER_ADDR is not set"):
        rendezvous_address(environment, TWO)
