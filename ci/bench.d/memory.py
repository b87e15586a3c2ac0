"""hil's peak memory for one board: all its processes, without QEMU."""

import time

import processes
from common import PATIENCE, CannotMeasure, Result, demo_image, say
from hilrun import Run

MOST_RUNS = 3
LOOK = 0.002
LIMIT_MB = 12


def measure(hil, runs, work):
    image = demo_image()
    runs = min(runs, MOST_RUNS)
    say(f"memory: {runs} runs of the suite boot")
    result = Result("memory", "peak resident memory over a run of the suite boot, one board")
    total = result.series_of("hil, all processes", "MB")
    main, others = result.series_of("  the run itself", "MB"), result.series_of("  keeper, …", "MB")
    for nth in range(runs):
        with Run(hil, image, work / f"hil{nth}", "--suite", "boot") as run:
            peaks = follow(run.process)
            run.check()
        own = peaks.pop(run.process.pid)
        main.add(own)
        others.add(sum(peaks.values()))
        total.add(own + sum(peaks.values()))
    # The limit is absolute, so the worst run counts and not the median.
    result.target("the worst run", max(total.values), LIMIT_MB, " MB")
    result.remark("Pages that two processes share are counted twice.")
    return result


def follow(process):
    """The peak of every process, in MB (a million bytes), by number."""
    peaks, emulators = {}, set()
    deadline, nth = time.monotonic() + PATIENCE, 0
    known = [process.pid]
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise CannotMeasure(f"hil did not end within {PATIENCE} s")
        if nth % 10 == 0:
            known = [process.pid, *processes.descendants(process.pid)]
        # Between fork and exec an emulator is still called hil.
        emulators.update(pid for pid in peaks if processes.is_emulator(pid))
        for pid in known:
            peak = processes.peak_kib(pid)
            if peak is not None:
                peaks[pid] = max(peaks.get(pid, 0), peak * 1024 / 1e6)
        nth += 1
        time.sleep(LOOK)
    return {pid: peak for pid, peak in peaks.items() if pid not in emulators}
