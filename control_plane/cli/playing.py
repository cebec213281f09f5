"""Many replays, here or in processes of their own, with a bar for whoever waits."""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Given = TypeVar("Given")
Found = TypeVar("Found")


def played(play: Callable[[Given], Found], given: Iterable[Given], jobs: int) -> Generator[Found, None, None]:
    """What `play` makes of each, in order, whichever process had it first. With `jobs` above 1 all of it is pickled.

    Who stops before the end ends the processes too, in the middle of what they do.
    """
    if jobs == 1:
        yield from map(play, given)
        return
    import signal
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import active_children, get_context

    # Spawned, not forked: a child that copies this process's threads (the progress bar's) may hang.
    # Ctrl-C is for this process, which then gives out nothing more.
    quiet = (signal.SIGINT, signal.SIG_IGN)
    spawn = get_context("spawn")
    others = set(active_children())
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=signal.signal, initargs=quiet) as pool:
        try:
            yield from pool.map(play, given)
        except BaseException:  # Ctrl-C, a closed pipe, a failure: one search may go on for minutes
            for process in set(active_children()) - others:
                process.terminate()
            raise


def progress_bar() -> "Progress":
    """A bar on standard error, if somebody looks at it."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def with_progress(found: Iterable[Found], count: int, what: str, name: Callable[[Found], str]) -> Iterator[Found]:
    """A bar that shows the name of the latest."""
    with progress_bar() as progress:
        bar = progress.add_task(what, total=count)
        for one in found:
            progress.update(bar, advance=1, description=name(one))
            yield one
