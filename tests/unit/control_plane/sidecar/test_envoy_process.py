"""Our own Envoy: started, found ready, adopted after a kill, ended."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from control_plane.sidecar.envoy_process import EnvoyProcess, EnvoyUnavailableError

STATIC: Mapping[str, object] = {
    "node": {"id": "test", "cluster": "test"},
    "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
}


async def test_starts_gets_ready_and_stops(tmp_path: Path) -> None:
    """A valid bootstrap gives a ready Envoy with an admin address; stop leaves no process and no pid file."""
    envoy = EnvoyProcess(tmp_path, STATIC, disposable=True)
    envoy.start()
    try:
        await envoy.wait_ready()
        assert envoy.is_running()
        assert envoy.admin_address()
    finally:
        await envoy.stop()
    assert not envoy.is_running()
    assert not (tmp_path / "envoy.pid").exists()
    await envoy.stop()


async def test_a_bad_bootstrap_is_told_with_envoys_words(tmp_path: Path) -> None:
    """Envoy's own reason is in the error, not a timeout."""
    envoy = EnvoyProcess(tmp_path, {"no_such_field": 1}, disposable=True)
    envoy.start()
    try:
        with pytest.raises(EnvoyUnavailableError, match="no_such_field"):
            await envoy.wait_ready()
    finally:
        await envoy.stop()


def die(process: EnvoyProcess) -> None:
    """What the kernel does for a kvpilot that is killed: its lock is gone, its Envoy is not."""
    assert process._lock is not None
    process._lock.close()


async def test_two_at_a_time_do_not_share_a_directory(tmp_path: Path) -> None:
    """While one lives, another is refused with the flag that helps, and the first one's Envoy is left alone."""
    first = EnvoyProcess(tmp_path, STATIC)
    first.start()
    try:
        await first.wait_ready()
        with pytest.raises(EnvoyUnavailableError, match="--state-dir"):
            EnvoyProcess(tmp_path, {**STATIC, "node": {"id": "other", "cluster": "test"}}).start()
        assert first.is_running()
    finally:
        await first.stop()
    third = EnvoyProcess(tmp_path, STATIC)
    third.start()
    await third.stop()


async def test_a_second_life_adopts_the_same_envoy(tmp_path: Path) -> None:
    """With the same bootstrap the living Envoy is taken over: same process id, and it can be stopped."""
    first = EnvoyProcess(tmp_path, STATIC)
    first.start()
    second = EnvoyProcess(tmp_path, STATIC)
    try:
        await first.wait_ready()
        die(first)
        second.start()
        assert second.adopted
        assert second.pid == first.pid
        await second.wait_ready()
        await second.stop()
        assert not first.is_running()
    finally:
        await first.stop()


async def test_another_bootstrap_replaces_the_old_envoy(tmp_path: Path) -> None:
    """An Envoy with an outdated bootstrap is ended and a new one started."""
    first = EnvoyProcess(tmp_path, STATIC)
    first.start()
    second = EnvoyProcess(tmp_path, {**STATIC, "node": {"id": "other", "cluster": "test"}})
    try:
        await first.wait_ready()
        die(first)
        second.start()
        assert not second.adopted
        assert second.pid != first.pid
        await second.wait_ready()
        await first._wait_ended(5)
        assert not first.is_running()
    finally:
        await second.stop()
        await first.stop()


async def test_a_recycled_process_id_is_left_alone(tmp_path: Path) -> None:
    """A pid file that names a process of somebody else does no harm to it."""
    (tmp_path / "envoy.pid").write_text(str(os.getpid()))
    envoy = EnvoyProcess(tmp_path, STATIC)
    envoy.start()
    try:
        assert envoy.pid != os.getpid()
        await envoy.wait_ready()
    finally:
        await envoy.stop()


async def test_an_envoy_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """Stop is bounded: a stopped (SIGSTOP) process cannot act on SIGTERM and is ended by SIGKILL."""
    envoy = EnvoyProcess(tmp_path, STATIC, disposable=True)
    envoy.start()
    await envoy.wait_ready()
    os.kill(envoy.pid, signal.SIGSTOP)
    await envoy.stop(timeout_s=0.2)
    assert not envoy.is_running()
