"""Each thread that reads the log has a pause of its own, or none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from zchat.core.read_pause import ReadPause, read_pause


def test_what_one_thread_sets_no_other_calls() -> None:
    def mine() -> None:
        pass

    def set_and_get() -> ReadPause | None:
        read_pause.set(mine)
        return read_pause.get()

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        assert one.submit(set_and_get).result() is mine
        assert other.submit(read_pause.get).result() is None
    assert read_pause.get() is None
