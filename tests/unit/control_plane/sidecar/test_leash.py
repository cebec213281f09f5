"""The leash: a program that ends with its parent, however that ends."""

import asyncio
import os
import signal
import subprocess
import sys

from control_plane.sidecar.leash import leashed
from tests.kit.processes import is_alive

PARENT = """\
import subprocess, sys, time
from control_plane.sidecar.leash import leashed
child = subprocess.Popen(leashed(sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"))
print(child.pid, flush=True)
time.sleep(600)
"""


async def test_a_killed_parent_takes_its_child_along() -> None:
    """SIGKILL gives the parent no chance to tidy up; the kernel ends the child all the same."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        told = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    (child,) = (int(word) for word in told - {"up"})
    try:
        async with asyncio.timeout(10):
            while is_alive(child):
                await asyncio.sleep(0.005)
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        raise


def test_the_process_id_is_the_programs_own() -> None:
    """Signals to the process reach the program itself; there is no wrapper in between."""
    with subprocess.Popen(leashed("sh", "-c", "echo $$"), stdout=subprocess.PIPE, text=True) as run:
        out, _ = run.communicate()
    assert int(out) == run.pid
    assert run.returncode == 0


def test_arguments_and_status_pass_through() -> None:
    """Words with spaces stay whole; the exit status is the program's."""
    run = subprocess.run(leashed("sh", "-c", 'echo "$1"; exit 3', "sh", "two words"), capture_output=True, check=False)
    assert (run.stdout, run.returncode) == (b"two words\n", 3)


def test_a_parent_that_is_gone_already() -> None:
    """When the parent died before the leash was on, nobody would end the program: it is not run at all."""
    somebody_else = [word if word != str(os.getpid()) else "1" for word in leashed("echo", "ran")]
    run = subprocess.run(somebody_else, capture_output=True, check=False)
    assert (run.stdout, run.returncode) == (b"", 0)
