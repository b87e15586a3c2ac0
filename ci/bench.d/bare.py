"""QEMU without a harness: hil's own command line, less what only hil needs, and a reader of its
serial line that does nothing but look for a mark."""

import re
import socket
import subprocess
import time

import processes
from common import PATIENCE, CannotMeasure
from hilrun import Run

READ = 64 << 10
# A mark may come in two reads; none is longer than this.
OVERLAP = 256
FLAGS = {"-no-user-config", "-nodefaults", "-S"}


def line_of_hil(hil, image, out, *more):
    """The command line of the emulator that hil starts for an image. Also warms all caches."""
    found = []

    def on_event(name, _told):
        if name == "power-on" and not found:
            found.extend(processes.words(processes.emulator_below(run.process.pid)))

    with Run(hil, image, out, *more) as run:
        run.follow(on_event)
    if not found:
        raise CannotMeasure("hil's emulator was gone before its command line could be read")
    return found[0], options(found[1:])


def options(words):
    """Pairs of an option and its value, which is `None` for a flag."""
    pairs, words = [], iter(words)
    for word in words:
        pairs.append((word, None if word in FLAGS else next(words)))
    return pairs


def without_harness(pairs, disk=None):
    """What a person would type: no monitor, no stopped start, the disk a file."""
    kept = []
    for option, value in pairs:
        if option in ("-S", "-mon", "-name") or (option == "-chardev"):
            continue
        if option == "-serial" and value == "chardev:console":
            continue
        if option == "-blockdev":
            node = re.search(r"node-name=(\w+)", value).group(1)
            option = "-drive"
            value = f"if=none,id={node},format=raw,snapshot=on,file={str(disk).replace(',', ',,')}"
        elif option == "-device" and ",drive=" in value:
            device = value.split(",")[0]
            drive, index = re.search(r"drive=\w+", value), re.search(r"bootindex=\d+", value)
            value = f"{device},{drive.group()},{index.group()}"
        kept.append((option, value))
    return kept


def time_to_mark(program, pairs, mark, work):
    """Seconds from the spawn until the mark was read from the serial line."""
    path = work / "serial"
    words = [program, *(word for pair in pairs for word in pair if word is not None)]
    words += ["-chardev", f"socket,id=console,path={path}", "-serial", "chardev:console"]
    pattern = re.compile(mark.encode())
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1)
    listener.settimeout(30)
    stderr = open(work / "qemu.stderr", "wb")
    began = time.monotonic()
    emulator = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
    try:
        serial, _ = listener.accept()
        with serial:
            serial.settimeout(PATIENCE)
            tail = b""
            while True:
                data = serial.recv(READ)
                if not data:
                    raise CannotMeasure(f"bare QEMU ended before the mark; see {stderr.name}")
                if pattern.search(tail + data):
                    return time.monotonic() - began
                tail = (tail + data)[-OVERLAP:]
    except socket.timeout:
        said = (work / "qemu.stderr").read_text(errors="replace")[-2000:]
        raise CannotMeasure(f"bare QEMU never printed the mark: {said}") from None
    finally:
        emulator.kill()
        emulator.wait()
        listener.close()
        stderr.close()
        path.unlink()
