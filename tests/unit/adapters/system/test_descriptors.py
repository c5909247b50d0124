"""How many descriptors a process may have, and which are kept for Docker."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from d4d.adapters.system.descriptors import is_of_reserve

SCRIPT = """
import resource
from d4d.adapters.system.descriptors import is_of_reserve, raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
raise_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
print(*(is_of_reserve({soft} - n) for n in (1, 128, 256, 257, 512)))
"""


def told(soft: int, hard: int) -> list[str]:
    """What a process of such limits says; they can't be raised again, so it is another one."""
    script = SCRIPT.format(soft=soft, hard=hard)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("soft", "hard", "then"), [(1024, 4096, 4096), (1024, 1024, 1024), (64, 128, 128)]
)
def test_the_limit_is_raised_as_far_as_it_may_be(soft: int, hard: int, then: int) -> None:
    assert told(soft, hard)[0] == f"{then} {hard}"


def test_a_limit_beyond_all_need_is_not_asked_for() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 100_000:
        pytest.skip("this machine allows no more")
    assert told(min(soft, 1024), 100_000)[0] == "65536 100000"


def test_the_last_ones_are_kept_for_docker() -> None:
    assert told(1024, 1024)[1] == "True True True False False"
    assert told(300, 300)[1] == "True True False False False"  # half of them, where there are few


def test_a_process_with_few_files_has_none_of_the_last_ones() -> None:
    with Path("/dev/null").open() as file:
        assert not is_of_reserve(file.fileno())
