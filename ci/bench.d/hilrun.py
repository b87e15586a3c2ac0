"""Runs hil once, and follows its events as anybody beside it can: by reading its file."""

import calendar
import ctypes
import json
import os
import select
import subprocess
import time

from common import BOARD, PATIENCE, CannotMeasure

IN_MODIFY = 2


class Run:
    """One run of hil. After `follow`, `power_on` and `reached` hold what the events tell."""

    def __init__(self, hil, image, out, *more):
        self.out, self.said = out, out.with_suffix(".said")
        self.began = self.power_on = None
        # By stage: seconds from power-on by hil's own clock, and until its event was read here.
        self.took, self.seen = {}, {}
        words = [hil, "run", "--board", BOARD, "--accel", "tcg", "--image", image, "--out", out]
        with open(self.said, "wb") as said:
            self.process = subprocess.Popen(
                [*map(str, words), *more], stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            # hil takes its emulator with it.
            self.process.kill()
            self.process.wait()

    def follow(self, on_event=lambda name, told: None):
        """Reads events until hil ends, which it must do with success."""
        deadline = time.monotonic() + PATIENCE
        events = self._events(deadline)
        rest = b""
        with events, Modified(events.name) as modified:
            while True:
                ended = self.process.poll() is not None
                *lines, rest = (rest + events.read()).split(b"\n")
                now = time.time()
                for line in lines:
                    self._take(json.loads(line), now, on_event)
                if ended:
                    break
                if time.monotonic() > deadline:
                    raise CannotMeasure(f"hil did not end within {PATIENCE} s")
                modified.wait(0.05)
        self.check()

    def check(self):
        if self.process.wait() != 0:
            tail = self.said.read_text(errors="replace")[-2000:]
            raise CannotMeasure(f"hil ended with {self.process.returncode}:\n{tail}")

    def _events(self, deadline):
        path = self.out / BOARD / "events.jsonl"
        # It is made long before the board gets power, so this looking costs the guest nothing.
        while not path.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.check()
                raise CannotMeasure("hil wrote no events")
            time.sleep(0.002)
        return open(path, "rb")

    def _take(self, event, now, on_event):
        what = event["what"]
        name = what if isinstance(what, str) else next(iter(what))
        if name == "run-started":
            self.began = wall_clock(what[name]["started"])
        elif name == "power-on" and self.power_on is None:
            self.power_on = event["t"]
        elif name == "stage-reached":
            stage = what[name]["stage"]
            if stage not in self.took:
                self.took[stage] = what[name]["took"]
                # hil's clock begins when it notes the time of its start.
                self.seen[stage] = now - (self.began + self.power_on)
        on_event(name, None if isinstance(what, str) else what[name])


def wall_clock(text):
    """Seconds since 1970 of `2026-11-23T22:47:28.123456789Z`."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")


class Modified:
    """Waits for a file to grow without looking again and again, which would slow the guest."""

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC)
        if libc.inotify_add_watch(self.fd, os.fsencode(path), IN_MODIFY) < 0:
            raise CannotMeasure(f"inotify: {os.strerror(ctypes.get_errno())}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def wait(self, seconds):
        if select.select([self.fd], [], [], seconds)[0]:
            os.read(self.fd, 4096)
