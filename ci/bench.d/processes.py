"""Looks at processes of this host through /proc. Ends none of them."""

from pathlib import Path


def _read(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def name(pid):
    return _read(pid, "comm").decode(errors="replace").strip()


def is_emulator(pid):
    return name(pid).startswith("qemu-system")


def words(pid):
    """The command line."""
    return [word.decode() for word in _read(pid, "cmdline").split(b"\0")[:-1]]


def children(pid):
    found = []
    # Each thread has its own children, and hil gives every child a thread.
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += [int(child) for child in (thread / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def descendants(pid):
    """All below `pid`, without emulators and what is below them."""
    found = []
    for child in children(pid):
        if not is_emulator(child):
            found += [child, *descendants(child)]
    return found


def emulators_below(pid):
    found = []
    for child in children(pid):
        found += [child] if is_emulator(child) else emulators_below(child)
    return found


def emulator_below(pid):
    return next(iter(emulators_below(pid)), None)


def peak_kib(pid):
    """The most memory that was ever resident; `None` when the process is gone."""
    return _figure(pid, "status", b"VmHWM:")


def share_kib(pid):
    """Its present memory, where a page in use by N processes counts for one Nth."""
    return _figure(pid, "smaps_rollup", b"Pss:") or 0


def private_kib(pid):
    """Its present memory that no other process shares."""
    parts = [_figure(pid, "smaps_rollup", key) for key in (b"Private_Clean:", b"Private_Dirty:")]
    return sum(part or 0 for part in parts)


def _figure(pid, name, key):
    for line in _read(pid, name).splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    return None
