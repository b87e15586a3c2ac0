"""1000 serial consoles at 115200 baud in one process: nothing lost, and what it costs beside a bare
reader.

The boards are ptys that another process writes at a UART's pace; both processes share this host. A
pty loses nothing by itself: what its reader does not fetch stays, and after a second and a half the
board's writes are cut short. So what is captured must be what was said, to the byte; and whether
pace was kept, by the boards and by the reader, is told beside it.
"""

import contextlib
import hashlib
import os
import select
import shutil
import subprocess
import time

import processes
from common import PATIENCE, TOP, CannotMeasure, Result, command, in_turns, say

COUNT, BAUD, SECONDS = 1000, 115200, 20
MOST_RUNS = 3
TICKS = os.sysconf("SC_CLK_TCK")


def measure(_hil, runs, work):
    say("consoles: building both ends (release)")
    command("cargo", "build", "--release", "--locked", "-p", "hil-lab", "--example", "consoles")
    target = TOP / (os.environ.get("CARGO_TARGET_DIR") or "target")
    program = target / "release" / "examples" / "consoles"
    runs = min(runs, MOST_RUNS)
    say(f"consoles: {runs} rounds of {SECONDS} s each")

    result = Result(
        "consoles", f"{COUNT} consoles at {BAUD} baud in one process, for {SECONDS} s")
    series = {}
    for name, label in (("bare", "bare reader"), ("hil", "hil")):
        series[name] = {
            "cpu": result.series_of(f"{label}, share of one core", "%"),
            "lag": result.series_of("  last byte said to last byte read", "ms"),
        }
    series["hil"]["rss"] = result.series_of("  its peak memory (VmHWM)", "MB")
    series["hil"]["pss"] = result.series_of("  its memory at the end (PSS)", "MB")
    boards = result.series_of("the boards, share of one core", "%")
    wall = result.series_of(f"  time they took for {SECONDS} s of bytes", "s")
    late = result.series_of("  99 % of their turns later than", "ms")
    worst = result.series_of("  their latest turn", "ms")
    lost = {"short": 0, "wrong": 0}

    def contend(name, *words):
        def run(nth):
            folder = work / f"{name}{nth}"
            folder.mkdir()
            words_of_run = [*words, folder] if name == "hil" else words
            figures = one(program, words_of_run, folder if name == "hil" else None)
            series[name]["cpu"].add(figures["cpu"])
            series[name]["lag"].add(figures["lag"])
            boards.add(figures["boards"])
            wall.add(figures["seconds"])
            late.add(figures["late"])
            worst.add(figures["worst"])
            if name == "hil":
                series[name]["rss"].add(figures["rss"])
                series[name]["pss"].add(figures["pss"])
                lost["short"] += figures["short"]
                lost["wrong"] += figures["wrong"]
            elif figures["short"]:
                result.remark(f"{figures['short']} writes found the bare reader as far behind")
            shutil.rmtree(folder)
        return run

    in_turns(runs, contend("bare", "bare"), contend("hil", "hil"))
    ratio = series["hil"]["cpu"].median / series["bare"]["cpu"].median
    result.target("hil: captures that differ from what was said", lost["wrong"], 0)
    if lost["short"]:
        result.remark(f"{lost['short']} writes found hil more than a second behind")
    result.remark(f"hil takes {ratio:.2f} times the CPU of the bare reader, which keeps nothing")
    if max(wall.values) > 1.01 * SECONDS:
        result.remark("THE PACE WAS NOT KEPT: this host is too busy for boards and reader")
    result.remark(f"each capture is compared by SHA-256; {COUNT * BAUD // 10 / 1e6:.1f} MB/s in all")
    return result


def one(program, words, captures):
    """One reader and its boards; what both took, from `go` to the last byte read."""
    with End([program, "boards", COUNT, BAUD, SECONDS]) as boards, End([program, *words]) as reader:
        ports = boards.until("ready")
        for port in ports:
            reader.tell(port.removeprefix("port "))
        reader.tell("")
        reader.until("ready")
        before, begun = (reader.cpu(), boards.cpu()), time.monotonic()
        boards.tell("go")
        pace = boards.line()
        said_at = time.monotonic()
        boards_took = boards.cpu() - before[1]
        reader.tell(f"end {BAUD // 10 * SECONDS}")
        reader.until("done")
        ended = time.monotonic()
        took = reader.cpu() - before[0]
        figures = {
            "cpu": 100 * took / (ended - begun),
            "lag": 1000 * (ended - said_at),
            "boards": 100 * boards_took / (said_at - begun),
            "rss": processes.peak_kib(reader.pid) * 1024 / 1e6,
            "pss": processes.share_kib(reader.pid) * 1024 / 1e6,
        }
        _, seconds, short, late, worst = pace.split()
        figures.update(
            short=int(short), late=float(late), worst=float(worst), seconds=float(seconds))
        reader.until("written")
        if captures:
            figures["wrong"] = differing(boards.until_starts("said"), captures)
        return figures


def differing(lines, captures):
    """How many captures on disk are not what their board said."""
    wrong = 0
    for line in lines:
        _, nth, digest = line.split()
        raw = (captures / nth / "console.raw").read_bytes()
        wrong += hashlib.sha256(raw).hexdigest() != digest
    if len(lines) != COUNT:
        raise CannotMeasure(f"only {len(lines)} of {COUNT} boards told what they had said")
    return wrong


class End(contextlib.AbstractContextManager):
    """One of the two processes; told and heard line by line."""

    def __init__(self, words):
        self.process = subprocess.Popen(
            [str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid
        self.heard = b""

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def tell(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def line(self):
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self.heard:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise CannotMeasure(f"process {self.pid} said nothing for {PATIENCE} s")
            fresh = os.read(self.process.stdout.fileno(), 1 << 16)
            if not fresh:
                raise CannotMeasure(f"`{self.process.args[1]}` ended with {self.process.wait()}")
            self.heard += fresh
        line, _, self.heard = self.heard.partition(b"\n")
        return line.decode()

    def until(self, last):
        return self.until_starts(last)

    def until_starts(self, start):
        lines = []
        while not (line := self.line()).startswith(start):
            lines.append(line)
        return lines

    def cpu(self):
        """Seconds on a processor so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
