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
    result = Result("memory", "hil's peak memory, one board, a run of the suite boot, without QEMU")
    share = result.series_of("hil, all processes (PSS)", "MB")
    main = result.series_of("  the run alone (VmHWM)", "MB")
    others = result.series_of("  its keeper alone (VmHWM)", "MB")
    total = result.series_of("  the sum of the two", "MB")
    for nth in range(runs):
        with Run(hil, image, work / f"hil{nth}", "--suite", "boot") as run:
            peaks, most_share = follow(run.process)
            run.check()
        own = peaks.pop(run.process.pid)
        main.add(own)
        others.add(sum(peaks.values()))
        total.add(own + sum(peaks.values()))
        share.add(most_share)
    # The limit is absolute, so the worst run counts and not the median.
    result.target("the worst run", max(share.values), LIMIT_MB, " MB")
    result.remark("PSS counts a page once, however many processes use it; the sum counts it in each.")
    return result


def follow(process):
    """In MB (a million bytes): the peak of every process by its number, and the peak of what all
    of them used together, where pages have several users."""
    peaks, emulators, most_share = {}, set(), 0
    deadline, nth = time.monotonic() + PATIENCE, 0
    known = []
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise CannotMeasure(f"hil did not end within {PATIENCE} s")
        if nth % 10 == 0:
            known = [process.pid, *processes.descendants(process.pid)]
            most_share = max(most_share, sum(megabytes(processes.share_kib(pid)) for pid in known))
        # Between fork and exec an emulator is still called hil.
        emulators.update(pid for pid in peaks if processes.is_emulator(pid))
        for pid in known:
            peak = processes.peak_kib(pid)
            if peak is not None:
                peaks[pid] = max(peaks.get(pid, 0), megabytes(peak))
        nth += 1
        time.sleep(LOOK)
    return {pid: peak for pid, peak in peaks.items() if pid not in emulators}, most_share


def megabytes(kib):
    return kib * 1024 / 1e6
