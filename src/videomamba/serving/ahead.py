"""Reading ahead of the network: a thread decodes the next item while the network runs on the present one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(read: Callable[[Item], Result], items: Iterable[Item], *, waiting: int = 1) -> Generator[Result, None, None]:
    """`read(item)` of each item, in order, one at a time in a thread; at most `waiting` wait or are read meanwhile.

    An error of `read` is raised here. Closing the generator, as an error of its user does, drops the rest.
    """
    results: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode") as pool:
        try:
            for item in items:
                results.append(pool.submit(read, item))
                if len(results) > waiting:
                    yield results.popleft().result()
            while results:
                yield results.popleft().result()
        finally:  # after an error or Ctrl-C the rest is not needed
            for result in results:
                result.cancel()
