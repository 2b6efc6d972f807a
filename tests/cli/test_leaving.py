"""What keeps a process is named by where its threads are."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from choros.cli.departure import at_work
from tests.patience import PATIENCE


def test_a_pool_s_thread_is_named_while_it_does_something_be_it_a_function_of_c() -> None:
    pool, over = ThreadPoolExecutor(1, thread_name_prefix="kitchen"), threading.Lock()
    with over:
        doing = pool.submit(over.acquire)
        give_up = time.monotonic() + PATIENCE
        while not any(line.startswith("kitchen") for line in at_work()):
            assert time.monotonic() < give_up
    assert doing.result(PATIENCE)
    while any(line.startswith("kitchen") for line in at_work()):  # it waits for the next
        assert time.monotonic() < give_up
    pool.shutdown()
