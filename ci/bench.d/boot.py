"""From power-on to the ready mark: demo-os under hil, and in QEMU as a person starts it."""

import re

import bare
from common import CannotMeasure, Result, demo_image, in_turns, say
from hilrun import Run

CASE = ("--case", "boot/stages-in-order")


def measure(hil, runs, work):
    image = demo_image()
    mark, disk = stated(image, "ready"), image.parent / "disk.img"
    say(f"boot: {runs} rounds")
    program, pairs = bare.line_of_hil(hil, image, work / "warm", *CASE)
    plain = bare.without_harness(pairs, disk)

    result = Result("boot", "demo-os mini, power-on to the ready mark")
    raw, by_hil = result.series_of("bare QEMU, snapshot=on", "s"), result.series_of("hil", "s")
    own = result.series_of("hil, by its own clock", "s")

    def run_raw(_):
        raw.add(bare.time_to_mark(program, plain, mark, work))

    def run_hil(nth):
        with Run(hil, image, work / f"hil{nth}", *CASE) as run:
            run.follow()
        by_hil.add(run.seen["ready"])
        own.add(run.took["ready"])

    in_turns(runs, run_raw, run_hil)
    result.target("hil / bare QEMU", by_hil.median / raw.median, 1.03)
    return result


def stated(image, key):
    """A string of the manifest; Python 3.9 has no TOML parser, and this one is ours."""
    found = re.search(rf'^{key}\s*=\s*"([^"\\]*)"', image.read_text(), re.MULTILINE)
    if not found:
        raise CannotMeasure(f"{image} states no {key}")
    return found.group(1)
