"""Forks for every case against a reboot for every case: the wall time of all cases of the suites that
start from a fork and do not reboot by themselves. Forks run in one lane more than there are cores, since
a guest waits a quarter of its time (cases that reboot have no lanes); with the boots and the saving that
the first run of an image needs, and from what that has saved, as every further run. Takes half an hour
to an hour, and runs only when it is asked for by name.

A host that is a virtual machine itself may lose its cores to others for minutes. That makes forks no faster:
what was stolen from the reboots is taken off their time, and from the forks' nothing.

Which cases reboot is what a whole run of them tells; HIL_BENCH_WHOLE, the folder of one that is there
already, on any board, saves making it."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from common import BOARD, CannotMeasure, Result, say

SUITES = ("containers", "limits", "ota", "power-cut")
# A case with one of these in its midst brings its board up by itself.
BOOTS = ("power-on", "power-cut", "stage-reached")
PATIENCE = 3 * 3600
# Forks may take this part of the reboots' time.
LIMIT = 0.2
# A row that misses its target while other machines took more than this part of its time is measured again,
# this often. What they took from the reboots counts as never spent, which is the strictest reading.
STOLEN = 0.05
TRIES = 3
# A line of hil's table that tells of more than passes and skips.
NO_PASS = re.compile(r" (fail|broken|flaky) +\d")


def measure(hil, _runs, work):
    lanes = os.cpu_count() + 1
    in_lanes = ("--lanes", lanes, "--jobs", lanes)
    cases = cases_of(hil)
    whole = os.environ.get("HIL_BENCH_WHOLE")
    if whole is None:
        say("isolation: which cases reboot by themselves")
        whole = work / "all"
        run(hil, whole, cases, *in_lanes)
    boots, passed, lasted = {}, set(), {}
    for lane in events_in(Path(whole)):
        lasted |= times(lane)
        for case, itself in reboots(lane).items():
            boots[case] = boots.get(case, False) or itself
        passed |= passes(lane)
    if unknown := set(cases) - set(boots):
        raise CannotMeasure(f"{whole} does not tell of {', '.join(sorted(unknown))}")
    # What was skipped there, or did not come to its end, does not show whether it reboots.
    chosen = sorted(case for case in cases if case in passed and not boots[case])
    result = Result("isolation", f"the {len(chosen)} of {len(cases)} cases that do not reboot by themselves")

    def row(name, *options, target=None):
        for _ in range(TRIES):
            took, stolen = timed(hil, work, chosen, name, *options)
            if target is None or took <= target or stolen <= STOLEN * took:
                result.series_of(name, "s").add(took)
                return took, stolen
            say("isolation: a target was missed while cores were missing; once more")
        raise CannotMeasure(f"{name}: {TRIES} times more than {STOLEN:.0%} of it went to other machines")

    took, stolen = row("after a reboot each", "--isolation", "reboot", "--fresh")
    # However that was spread over the cores, the reboots cannot have waited for longer.
    reboots_alone = took - stolen
    limit = LIMIT * reboots_alone
    first, _ = row(f"forks in {lanes} lanes, boots and saving too", "--fresh", *in_lanes, target=limit)
    saved, _ = row(f"forks in {lanes} lanes, saved before", *in_lanes, target=limit)
    result.target(f"forks in {lanes} lanes, boots and saving too / reboots", first / reboots_alone, LIMIT)
    result.target(f"forks in {lanes} lanes, saved before / reboots", saved / reboots_alone, LIMIT)
    result.remark(f"of the reboots' time up to {stolen:.0f} s went to other machines of this host (steal); "
                  "they are not counted in the ratios")
    apart = [lasted[case] for case in cases if boots[case] and case in lasted]
    result.remark(f"apart: the {len(apart)} cases that reboot by themselves took {sum(apart):.0f} s, "
                  "added up, in the run that told which do")
    return result


def cases_of(hil):
    """The names of all cases that ask for a fork."""
    words = [hil, "plan", "--board", BOARD, "--json"]
    words += [word for suite in SUITES for word in ("--suite", suite)]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotMeasure(f"hil plan ended with {done.returncode}: {done.stderr[-500:]}")
    sessions = (session for plan in json.loads(done.stdout) for session in plan["sessions"])
    return [name_of(case["id"]) for session in sessions for case in session["cases"]
            if case["isolation"] == "fork"]


def timed(hil, work, chosen, name, *options):
    """The wall time of a run of these cases, and the time of all cores that was stolen meanwhile; seconds."""
    say(f"isolation: {len(chosen)} cases {name}")
    out = Path(tempfile.mkdtemp(dir=work)) / "run"
    before = stolen_so_far()
    run(hil, out, chosen, *options)
    stolen = stolen_so_far() - before
    events = events_in(out)
    if sorted(case for lane in events for case in reboots(lane)) != chosen:
        raise CannotMeasure(f"{name}: not the same cases ran")
    # From the start of the run to its last event.
    took = max(lane[-1]["t"] for lane in events)
    say(f"isolation: they took {took:.1f} s; {stolen:.1f} s of CPU time went to other machines of this host")
    return took, stolen


def stolen_so_far():
    """The CPU time in which this machine's cores wanted to run and another machine of its hypervisor had
    them, all cores', in seconds (`steal` in proc_stat(5))."""
    ticks = int(Path("/proc/stat").read_text().split(maxsplit=9)[8])
    return ticks / os.sysconf("SC_CLK_TCK")


def run(hil, out, cases, *options):
    """Runs these cases, all of which must pass, or be skipped for a reason."""
    words = [hil, "run", "--board", BOARD, "--out", out, *options]
    words += [word for case in cases for word in ("--case", case)]
    with open(out.with_suffix(".said"), "wb") as said:
        done = subprocess.run(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=said,
                              stderr=said, timeout=PATIENCE)
    if done.returncode != 0:
        # The bench's own folder goes when it ends; what failed after an hour must not go with it.
        kept = tempfile.mkdtemp(prefix="hil-bench-failed-")
        said = out.with_suffix(".said").read_text()
        for what in (out, out.with_suffix(".said")):
            if what.exists():
                shutil.move(what, kept)
        told = [line for line in said.splitlines() if NO_PASS.search(line)] or [said[-2000:]]
        told.insert(0, f"hil ended with {done.returncode}; its run is kept in {kept}")
        raise CannotMeasure("\n".join(told))


def events_in(out):
    """The events of each lane, or shard, of the run in this folder."""
    files = sorted(out.rglob("events.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def reboots(events):
    """The cases that ran, and whether their bodies rebooted."""
    found, running = {}, None
    for event in events:
        what = event["what"]
        name = what if isinstance(what, str) else next(iter(what))
        if name == "case-started":
            running = name_of(what[name]["case"])
            found.setdefault(running, False)
        elif name in BOOTS and running:
            found[running] = True
        elif name == "case-finished":
            running = None
    return found


def finished(events):
    """What is told of each case that ended."""
    return [event["what"]["case-finished"] for event in events
            if isinstance(event["what"], dict) and "case-finished" in event["what"]]


def passes(events):
    """The cases that passed."""
    return {name_of(told["case"]) for told in finished(events) if told["verdict"] == "pass"}


def times(events):
    """How many seconds each case took, its start from a fork not counted."""
    return {name_of(told["case"]): told["took"] for told in finished(events)}


def name_of(case):
    return f"{case['suite']}/{case['name']}"
