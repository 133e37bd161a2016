"""A contender's clock is wrong, whatever those that were killed have left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.exclusion import clocks

LEAVE = 'for one in sem.faketime_sem_$$ faketime_shm_$$; do : > {}/$one; done; exec "$@"'


def test_what_a_killed_process_left_keeps_none_from_a_wrong_clock() -> None:
    if shutil.which("faketime") is None or not clocks.SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail("faketime is missing")
        pytest.skip("faketime is missing: apt-get install faketime")
    command = [
        sys.executable,
        "-c",
        "import os, time; print(time.time(), flush=True); os.kill(os.getppid(), 9)",
    ]
    argv = ["sh", "-c", LEAVE.format(clocks.SHARED), "sh", *clocks.wrong(command, -60)]
    with subprocess.Popen(argv, env=os.environ | clocks.ENVIRON, stdout=subprocess.PIPE, text=True) as began:
        told, _ = began.communicate()
    assert began.returncode == -9
    assert round((time.time() - float(told)) / 60) == 60
    assert [one.name for one in clocks.SHARED.glob(f"*faketime*_{began.pid}")]
    clocks.tidy(began.pid)
    assert not list(clocks.SHARED.glob(f"*faketime*_{began.pid}"))
