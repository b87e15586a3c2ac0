"""1 MiB of guest console from the spawn to its end mark: a bare reader, hil, and labgrid.

The emulator sends each byte by itself, and each may wake the reader. Whether the kernel wakes it
on the emulator's core or on another makes a fifth of the time, changes from run to run, and is
nobody's merit. So the emulator has one core here and its reader another.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import bare
from common import ARCH, CACHE, PATIENCE, CannotMeasure, Result
from common import command, example_image, in_turns, say
from hilrun import Run

LABGRID = "labgrid==26.0.1"
# A run under labgrid takes some twenty times as long as the others.
SLOW_RUNS = 3
MARK = "flood done"
EMULATOR = f"qemu-system-{ARCH}"
CASE = ("--case", "boot/stages-in-order")
MANIFEST = """\
name = "flood"
arch = "aarch64"
[boot.kernel]
file    = "{0}/vmlinuz"
initrd  = "{0}/initrd.cpio.gz"
cmdline = "console=ttyAMA0 panic=-1 hil.do=flood=1024"
[stages]
ready = "{1}"
"""


def measure(hil, runs, work):
    image = work / "image.toml"
    image.write_text(MANIFEST.format(example_image(), MARK))
    say("console: installing labgrid")
    python, version = labgrid()
    with apart(work):
        return compare(hil, runs, work, image, python, version)


def compare(hil, runs, work, image, python, version):
    say(f"console: {runs} rounds")
    _, pairs = bare.line_of_hil(hil, image, work / "warm", *CASE)
    program = shutil.which(EMULATOR)
    plain = bare.without_harness(pairs)
    environment = work / "labgrid.json"
    environment.write_text(json.dumps(labgrid_environment(program, plain)))

    result = Result("console", "1 MiB of guest console, spawn to end mark")
    raw, by_hil = result.series_of("bare socket reader", "s"), result.series_of("hil", "s")
    own = result.series_of("hil, by its own clock", "s")
    peer = result.series_of(f"labgrid {version}", "s")

    def run_raw(_):
        raw.add(bare.time_to_mark(program, plain, MARK, work))

    def run_hil(nth):
        with Run(hil, image, work / f"hil{nth}", *CASE) as run:
            run.follow()
        by_hil.add(run.seen["ready"])
        own.add(run.took["ready"])

    def run_labgrid(nth):
        if nth < SLOW_RUNS:
            peer.add(time_labgrid(python, environment))

    in_turns(runs, run_raw, run_hil, run_labgrid)
    result.target("hil / bare reader", by_hil.median / raw.median, 1.03)
    result.remark(f"labgrid takes {peer.median / by_hil.median:.1f} times as long as hil")
    return result


@contextlib.contextmanager
def apart(work):
    """Gives the emulator a core and everything else another: whoever looks for the emulator finds
    a script that moves it."""
    cores, path = os.sched_getaffinity(0), os.environ["PATH"]
    if len(cores) < 2:
        raise CannotMeasure("this needs two cores")
    real, script = shutil.which(EMULATOR), work / "bin" / EMULATOR
    script.parent.mkdir()
    first, second, *_ = sorted(cores)
    script.write_text(f'#!/bin/sh\nexec taskset -c {first} {shlex.quote(real)} "$@"\n')
    script.chmod(0o755)
    os.environ["PATH"] = f"{script.parent}:{path}"
    os.sched_setaffinity(0, {second})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        os.environ["PATH"] = path


def labgrid():
    """A Python that has labgrid, in an environment of its own; and labgrid's version."""
    venv = CACHE / "bench-venv"
    python = venv / "bin/python"
    ask = "import importlib.metadata as m; print(m.version('labgrid'))"
    wanted = LABGRID.partition("==")[2]

    def version():
        if not python.exists():
            return None
        done = subprocess.run([python, "-c", ask], capture_output=True, text=True)
        return done.stdout.strip()

    if version() != wanted:
        # Debian puts the module into a package of its own, python3-venv.
        command(sys.executable, "-m", "venv", venv)
        command(python, "-m", "pip", "install", "--quiet", LABGRID)
    return python, version()


def labgrid_environment(program, pairs):
    """labgrid's configuration for the same machine: what it has a word for by that word, the rest
    as further arguments."""
    words = {"-machine": "machine", "-cpu": "cpu", "-m": "memory", "-append": "boot_args"}
    driver, extra = {"qemu_bin": "qemu", "kernel": "kernel"}, []
    kernel = None
    for option, value in pairs:
        if option == "-kernel":
            kernel = value
        elif option in words:
            driver[words[option]] = value
        elif option != "-display":  # labgrid's default is none, too.
            extra += [word for word in (option, value) if word is not None]
    driver["extra_args"] = shlex.join(extra)
    return {
        "targets": {"main": {"drivers": {"QEMUDriver": driver}}},
        "images": {"kernel": kernel},
        "tools": {"qemu": program},
    }


def time_labgrid(python, environment):
    script = Path(__file__).with_name("labgrid_reader.py")
    words = [python, script, environment, MARK, str(PATIENCE)]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = re.search(r"^seconds ([0-9.]+)$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or not found:
        raise CannotMeasure(f"labgrid ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return float(found.group(1))
