"""Asking again and again: just who is wanted is asked, who stays is not disturbed, nothing is left at the end."""

import asyncio
import random
import ssl

import pytest

from ext_proc.signals.fetch import PageError
from ext_proc.signals.pod_tls import PodTls, no_token, plaintext
from ext_proc.signals.rounds import Ending, PodPages, Rounds


async def test_exactly_who_is_wanted_is_asked() -> None:
    """A newcomer is asked, who stays keeps its task, who is asked otherwise gets a new one, who leaves is left."""
    asked: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def ask(address: str, how: str) -> float:
        asked.put_nowait((address, how))
        return 1e9

    rounds: Rounds[str] = Rounds(ask, lambda how: 0.0, random.Random(1), "question")
    rounds.set([("a", "x"), ("b", "x")])
    assert {await asked.get(), await asked.get()} == {("a", "x"), ("b", "x")}
    rounds.set([("a", "x"), ("b", "y"), ("c", "x")])
    assert {await asked.get(), await asked.get()} == {("b", "y"), ("c", "x")}
    await rounds.stop()
    await rounds.stop()
    assert asked.empty()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("question")]


async def test_an_ended_task_is_waited_for() -> None:
    """However long it takes to clean up."""
    cleaned: list[bool] = []

    async def careful() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    ending, task = Ending(), asyncio.create_task(careful())
    await asyncio.sleep(0)
    ending.end(task)
    await ending.wait()
    assert cleaned == [True]


@pytest.mark.parametrize(
    ("tls", "token", "words"),
    [
        (PodTls(context=None), "", "the certificates for its pool are missing"),
        (None, None, "the token file for its pool is missing"),
        (PodTls(context=ssl.create_default_context()), None, "the token file for its pool is missing"),
    ],
)
async def test_nothing_is_sent_without_what_the_pool_wants(tls: PodTls | None, token: str | None, words: str) -> None:
    """Neither in the clear instead of over TLS, nor without the token."""
    pages = PodPages(lambda pool: tls, lambda pool: token)
    pages.open(1.0)
    with pytest.raises(PageError, match=words):
        await pages.get("chat", "127.0.0.1:1", "/")
    await pages.close()
    await pages.close()


async def test_a_client_that_is_closed_can_be_opened_again() -> None:
    """Opening twice is harmless as well."""
    pages = PodPages(plaintext, no_token)
    for _ in range(2):
        pages.open(1.0)
        pages.open(1.0)
        with pytest.raises(PageError):
            await pages.get("chat", "127.0.0.1:1", "/")
        await pages.close()
