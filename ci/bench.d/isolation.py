"""Forks for every case against a reboot for every case: the wall time of all cases of the suites that
start from a fork and do not reboot by themselves, starts included; one after another, and in as many
lanes as there are cores. Takes an hour, and runs only when it is asked for by name."""

import json
import os
import subprocess

from common import BOARD, CannotMeasure, Result, say

SUITES = ("containers", "limits", "ota", "power-cut")
# A case with one of these in its midst brings its board up by itself.
BOOTS = ("power-on", "power-cut", "stage-reached")
PATIENCE = 3 * 3600


def measure(hil, _runs, work):
    say("isolation: every case from a fork")
    forked = spans(run(hil, work / "fork", cases_of(hil), "--isolation", "fork")[0])
    chosen = sorted(case for case, (_, boots) in forked.items() if not boots)
    say(f"isolation: {len(chosen)} of {len(forked)} cases do not reboot; each after a reboot")
    rebooted = spans(run(hil, work / "reboot", chosen, "--isolation", "reboot")[0])
    if set(rebooted) != set(chosen):
        raise CannotMeasure("not the same cases ran from forks and after reboots")
    lanes = os.cpu_count()
    say(f"isolation: the same from forks, in {lanes} lanes")
    at_once = run(hil, work / "lanes", chosen, "--lanes", lanes)

    result = Result("isolation", f"{len(chosen)} cases, from forks and after a reboot each")
    by_fork = result.series_of("from forks, a case", "s")
    by_reboot = result.series_of("after a reboot, a case", "s")
    for case in chosen:
        by_fork.add(forked[case][0])
        by_reboot.add(rebooted[case][0])
    one_by_one, reboots = sum(by_fork.values), sum(by_reboot.values)
    together = max(events[-1]["t"] for events in at_once)
    result.target(f"from forks in {lanes} lanes / after reboots", together / reboots, 0.2)
    result.remark(f"all of them: after reboots {reboots:.0f} s; from forks {one_by_one:.0f} s, in "
                  f"{lanes} lanes {together:.0f} s; the boots and the saving included")
    result.remark(f"from forks, one after another / after reboots: {one_by_one / reboots:.3f}")
    own = {case: took for case, (took, boots) in forked.items() if boots}
    result.remark(f"apart from these: {len(own)} cases that reboot by themselves, {sum(own.values()):.0f} s")
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


def run(hil, out, cases, *options):
    """The events of each lane of a run of these cases, all of which must pass, or be skipped for a
    reason."""
    words = [hil, "run", "--board", BOARD, "--fresh", "--out", out, *options]
    words += [word for case in cases for word in ("--case", case)]
    with open(out.with_suffix(".said"), "wb") as said:
        done = subprocess.run(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=said,
                              stderr=said, timeout=PATIENCE)
    if done.returncode != 0:
        raise CannotMeasure(f"hil ended with {done.returncode}:\n{out.with_suffix('.said').read_text()[-2000:]}")
    files = sorted((out / BOARD).rglob("events.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def spans(events):
    """By case: seconds from the end of what was before it until its own end, and whether its body
    rebooted."""
    found, before, running, boots = {}, 0.0, False, False
    for event in events:
        what, t = event["what"], event["t"]
        name = what if isinstance(what, str) else next(iter(what))
        if name == "session-started":
            before = t
        elif name == "case-started":
            running, boots = True, False
        elif name in BOOTS:
            boots = boots or running
        elif name == "case-finished":
            found[name_of(what[name]["case"])] = (t - before, boots)
            before, running = t, False
    return found


def name_of(case):
    return f"{case['suite']}/{case['name']}"
