import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from septet.preprocess.bounded import BoundedCall, CrashError, MemoryLimitError, TimeLimitError
from septet.schemas.reasons import RejectedError

# What the other process runs.


def add(a, b):
    return a + b


def process():
    print("a library prints")
    return os.getpid()


def spin():
    while True:
        pass


def spin_with(*arguments):
    spin()


def wait():
    time.sleep(60)


def fill(size):
    return len(bytearray(size))


def die():
    os.kill(os.getpid(), signal.SIGSEGV)


def refuse():
    raise RejectedError("too_large", "7")


class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(a)


def refuse_oddly():
    raise Odd("one", "two")


def bounded(name, seconds=5.0, memory=2**29):
    return BoundedCall(f"tests.preprocess.test_bounded:{name}", seconds, memory)


def test_results_come_back_and_the_process_is_kept():
    call = bounded("add")
    assert call(1, 2) == 3
    assert call(b"x" * 10_000_000, b"y") == b"x" * 10_000_000 + b"y"
    pids = bounded("process")
    first = pids()
    assert first == pids() != os.getpid()


def test_what_takes_too_long_is_stopped_and_the_next_call_works():
    spinning = bounded("spin", seconds=0.5)
    start = time.monotonic()
    for _ in range(2):
        with pytest.raises(TimeLimitError):
            spinning()
    assert time.monotonic() - start < 60
    waiting = bounded("wait", seconds=0.1)
    with pytest.raises(TimeLimitError):
        waiting()


def test_memory_is_bounded():
    call = bounded("fill", memory=2**28)
    assert call(2**20) == 2**20
    with pytest.raises(MemoryLimitError):
        call(2**29)
    assert call(2**20) == 2**20


def test_a_process_that_dies_takes_nothing_with_it():
    call = bounded("die")
    for _ in range(2):
        with pytest.raises(CrashError, match="SIGSEGV"):
            call()


def test_errors_of_the_function_are_raised_here():
    with pytest.raises(RejectedError) as failed:
        bounded("refuse")()
    assert (failed.value.reason, failed.value.value) == ("too_large", "7")
    with pytest.raises(RuntimeError, match="Odd: one"):
        bounded("refuse_oddly")()


def test_threads_do_not_wait_for_each_other():
    call = bounded("process")
    found = []
    threads = [threading.Thread(target=lambda: found.append(call())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 3


def test_no_process_outlives_its_caller():
    program = """
from septet.preprocess.bounded import BoundedCall
call = BoundedCall("tests.preprocess.test_bounded:process", 5.0, 2**29)
print(call())
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    child = int(ran.stdout)
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("it lives")
