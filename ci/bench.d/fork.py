"""Starting a case: a fork of the booted board beside the boot that it spares."""

import time

import processes
from common import CannotMeasure, Result, demo_image, say
from hilrun import Run

SUITE = 'about = "Nothing but starts."\n'
# Long enough for the next fork to be made and loaded meanwhile.
CASE = '[[case]]\nname = "start-{nth}"\nrun = "sleep 2"\nisolation = "fork"\n'
MOST_MB = 40


def measure(hil, runs, work):
    image = demo_image()
    say(f"fork: {runs} forks of one board")
    # The first fork follows the save at once, before another could be made ahead of time.
    suite = work / "suites" / "starts"
    suite.mkdir(parents=True)
    cases = "".join(CASE.format(nth=nth) for nth in range(runs + 1))
    (suite / "suite.toml").write_text(SUITE + cases)

    result = Result("fork", "demo-os mini: a fork of the booted board, and its boot")
    boot = result.series_of("boot, power-on to ready", "s")
    running = result.series_of("fork, until its guest runs", "s")
    first = result.series_of("  and its first command is answered", "s")
    ssh = result.series_of("  and its first command over SSH", "s")
    private = result.series_of("  its memory after that (private)", "MB")
    fresh = result.series_of("a fork that stands ready (private)", "MB")
    words = ("--suite-dir", suite.parent, "--suite", "starts", "--fresh")
    with Run(hil, image, work / "out", *map(str, words)) as run:
        def on_event(name, told):
            if name == "forked":
                running.add(told["running"])
                first.add(told["answered"] - told["running"])
            elif name == "ssh-answered":
                ssh.add(told["took"])
                private.add(max(memories(run.process.pid), default=0))
            elif name == "case-started":
                # In the midst of the case: the one that runs, and beside it the next, which has been
                # made and loaded by then and stands still.
                time.sleep(1)
                found = memories(run.process.pid)
                if len(found) == 2:
                    fresh.add(found[0])

        run.follow(on_event)
    boot.add(run.took["ready"])
    if not fresh.values:
        raise CannotMeasure("no fork was made ahead of time")
    for series in (running, first, private, ssh):
        del series.values[:1]
    if not len(running.values) == len(ssh.values) == runs:
        raise CannotMeasure(
            f"{len(running.values)} forks and {len(ssh.values)} SSH logins instead of {runs}")
    result.target("running", running.median, 0.08, " s")
    result.target("first command after that", first.median, 0.1, " s")
    result.target("first SSH", ssh.median, 0.35, " s")
    result.target("private memory of a fresh fork", fresh.median, MOST_MB, " MB")
    ratio = boot.median / (running.median + first.median)
    result.remark(f"a boot takes {ratio:.0f} times as long as a fork with its first command")
    return result


def memories(hil):
    """Private memory of each of hil's emulators, in MB, the least first."""
    private = (processes.private_kib(pid) for pid in processes.emulators_below(hil))
    return sorted(kib * 1024 / 1e6 for kib in private)
