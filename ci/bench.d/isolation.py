"""Forks for every case against a reboot for every case: the wall time of all cases of the suites that
start from a fork and do not reboot by themselves; one after another, and in one lane more than there
are cores, since a guest waits a quarter of its time (cases that reboot have no lanes); with the boots
and the saving that the first run of an image needs, and from what that has saved, as every further run.
Takes an hour, and runs only when it is asked for by name.

A host that is a virtual machine itself may lose its cores to others for minutes, which lanes feel and one
guest does not: a row in which that was too much is measured again.

Which cases reboot is what a whole run of them tells; HIL_BENCH_WHOLE, the folder of one that is there
already, on any board, saves making it."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from common import BOARD, CannotMeasure, Result, say

SUITES = ("containers", "limits", "ota", "power-cut")
# A case with one of these in its midst brings its board up by itself.
BOOTS = ("power-on", "power-cut", "stage-reached")
PATIENCE = 3 * 3600
# A row is measured again if more than this part of the host's CPU time was taken from it (steal), this often.
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
    ways = {
        "after a reboot each": ("--isolation", "reboot", "--fresh"),
        "from forks, boots and saving included": ("--fresh",),
        f"the same, in {lanes} lanes": ("--fresh", *in_lanes),
        f"in {lanes} lanes, saved before": in_lanes,
    }
    result = Result("isolation", f"the {len(chosen)} of {len(cases)} cases that do not reboot by themselves")
    took = []
    for nth, (name, options) in enumerate(ways.items()):
        say(f"isolation: {len(chosen)} cases {name}")
        events = undisturbed(hil, work / str(nth), chosen, *options)
        ran = sorted(case for lane in events for case in reboots(lane))
        if ran != chosen:
            raise CannotMeasure(f"{name}: not the same cases ran")
        series = result.series_of(name, "s")
        # From the start of the run to its last event.
        series.add(max(lane[-1]["t"] for lane in events))
        say(f"isolation: they took {series.median:.1f} s")
        took.append(series.median)
    result.target(f"forks in {lanes} lanes, boots and saving included / reboots", took[2] / took[0], 0.2)
    result.target(f"forks in {lanes} lanes, saved before / reboots", took[3] / took[0], 0.2)
    result.remark(f"forks, one after another / reboots: {took[1] / took[0]:.3f}")
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


def undisturbed(hil, out, cases, *options):
    """The events of a run that had the host's cores to itself."""
    for _ in range(TRIES):
        since, began = stolen(), time.monotonic()
        run(hil, out, cases, *options)
        part = (stolen() - since) / ((time.monotonic() - began) * os.cpu_count())
        if part <= STOLEN:
            return events_in(out)
        say(f"isolation: once more: {part:.0%} of this machine's CPU time went to others than this machine")
        shutil.rmtree(out)
    raise CannotMeasure(f"{TRIES} times more than {STOLEN:.0%} of the CPU time went to others than this machine")


def stolen():
    """The CPU time that went to other machines of this one's hypervisor so far, all cores', in seconds
    (`steal` in proc_stat(5))."""
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
        raise CannotMeasure(f"hil ended with {done.returncode}; its run is kept in {kept}\n" + "\n".join(told))


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
