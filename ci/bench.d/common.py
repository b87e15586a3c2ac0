"""What the benchmarks share: the binary, the images, series of figures, and judging them."""

import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hil"
BOARD = "qemu-aarch64"
ARCH = "aarch64"
# A run that takes longer than this is stuck, not slow.
PATIENCE = 600


class CannotMeasure(Exception):
    """A figure that could not be had; never taken for a missed or met target."""


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def command(*words):
    """Runs a preparation, and shows what it says only to whoever watches."""
    words = [str(word) for word in words]
    try:
        done = subprocess.run(words, cwd=TOP, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    except OSError as why:
        raise CannotMeasure(f"failed to run {words[0]}: {why}; ci/setup installs it") from None
    if done.returncode != 0:
        raise CannotMeasure(f"`{' '.join(words)}` ended with {done.returncode}")


def build_hil():
    say("building hil (release)")
    command(TOP / "ci/release")
    target = Path(os.environ.get("CARGO_TARGET_DIR") or TOP / "target")
    return TOP / target / "release" / "hil"


def demo_image():
    """The manifest of demo-os mini."""
    command(TOP / "fixtures/demo-os/build", "--arch", ARCH, "--variant", "mini")
    return CACHE / f"images/demo-os/{ARCH}-mini/image.toml"


def example_image():
    """The folder of the kernel-and-initrd example."""
    folder = CACHE / f"images/example/{ARCH}"
    command(TOP / "fixtures/examples/kernel-initrd/make", ARCH, folder)
    return folder


def say_host(hil):
    def first_line(*words):
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as why:
            raise CannotMeasure(f"failed to run {words[0]}: {why}") from None
        return done.stdout.splitlines()[0]

    load = " ".join(f"{load:.2f}" for load in os.getloadavg())
    print(f"{first_line(str(hil), '--version')} · {first_line(f'qemu-system-{ARCH}', '--version')}")
    print(f"{os.cpu_count()} cores ({platform.machine()}), Linux {platform.release()}, "
          f"load {load}, every guest under TCG")


def in_turns(rounds, *contenders):
    """Runs the contenders round by round; each second round goes backwards, so that a drift of
    the host's speed favours nobody."""
    for nth in range(rounds):
        for contender in contenders if nth % 2 == 0 else reversed(contenders):
            contender(nth)


class Series:
    """Figures of one contender, in one unit."""

    def __init__(self, name, unit):
        self.name, self.unit, self.values = name, unit, []

    def add(self, value):
        self.values.append(value)

    @property
    def median(self):
        return statistics.median(self.values)

    def row(self):
        low, high = min(self.values), max(self.values)
        figures = "".join(f"{value:>11.3f}" for value in (self.median, low, high))
        return f"  {self.name:<34}{len(self.values):>5}{figures}  {self.unit}"


class Result:
    """What one benchmark found."""

    def __init__(self, name, title):
        self.name, self.title = name, title
        self.series, self.remarks, self.targets = [], [], []

    def series_of(self, name, unit):
        series = Series(name, unit)
        self.series.append(series)
        return series

    def remark(self, text):
        self.remarks.append(text)

    def target(self, what, value, limit, unit=""):
        """Holds `value` against `limit`, which it must not exceed."""
        self.targets.append((what, value, limit, unit))

    def missed(self):
        return [target for target in self.targets if target[1] > target[2]]

    def show(self):
        print(f"\n{self.name}: {self.title}")
        print(f"  {'':<34}{'runs':>5}{'median':>11}{'min':>11}{'max':>11}")
        for series in self.series:
            print(series.row())
        for what, value, limit, unit in self.targets:
            verdict = "met" if value <= limit else "MISSED"
            print(f"  {verdict}: {what} {value:.3f}{unit}, target at most {limit:g}{unit}")
        for remark in self.remarks:
            print(f"  {remark}")
        sys.stdout.flush()


def conclude(results):
    """Says which targets were missed; the exit code."""
    missed = [(result.name, *target) for result in results for target in result.missed()]
    number = sum(len(result.targets) for result in results)
    if not missed:
        print(f"\nall {number} targets met")
        return 0
    print(f"\n{len(missed)} of {number} targets missed:")
    for name, what, value, limit, unit in missed:
        print(f"  {name}: {what} is {value:.3f}{unit}, target at most {limit:g}{unit}")
    return 1
