"""`hil --help` from spawn to exit, beside a program that does nothing."""

import os
import shutil
import time

from common import CannotMeasure, Result, in_turns, say

RUNS = 50
LIMIT_MS = 10


def measure(hil, _runs, _work):
    say(f"help: {RUNS} rounds")
    result = Result("help", "`hil --help`, spawn to exit")
    by_hil, nothing = result.series_of("hil --help", "ms"), result.series_of("true", "ms")
    true = shutil.which("true")
    in_turns(
        RUNS,
        lambda _: by_hil.add(time_to_exit(str(hil), "--help")),
        lambda _: nothing.add(time_to_exit(true)),
    )
    result.target("hil --help", by_hil.median, LIMIT_MS, " ms")
    return result


def time_to_exit(*words):
    """Milliseconds. Spawned without Python's own machinery, which costs more than `true`."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    began = time.monotonic()
    pid = os.posix_spawn(words[0], words, os.environ, file_actions=quiet)
    _, status = os.waitpid(pid, 0)
    took = time.monotonic() - began
    if status != 0:
        raise CannotMeasure(f"`{' '.join(words)}` ended with status {status}")
    return took * 1000
