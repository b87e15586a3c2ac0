#!/usr/bin/env python3
"""Plays qemu-system-*: a guest that prints as fast as hil reads, which no emulated UART can.

FLOOD_MIB says how much; then comes a line "flood done", and silence until hil ends it.
"""

import json
import os
import socket
import sys


def channel(name: str) -> socket.socket:
    head = f"socket,id={name},server=off,path="
    path = next(word.removeprefix(head) for word in sys.argv if word.startswith(head))
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(path)
    return connected


def flood(console: socket.socket) -> None:
    line = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n"
    mib = line * ((1 << 20) // len(line))
    console.sendall(b"the head\r\n")
    for _ in range(int(os.environ["FLOOD_MIB"])):
        console.sendall(mib)
    console.sendall(b"flood done\r\n")


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        print("QEMU emulator version 0.0.0 (flood)")
        return
    console = channel("console")
    monitor = channel("qmp").makefile("rw")
    version = {"qemu": {"major": 0, "minor": 0, "micro": 0}, "package": "flood"}
    print(json.dumps({"QMP": {"version": version, "capabilities": []}}), file=monitor, flush=True)
    for request in map(json.loads, monitor):
        answer = {"return": {}, "id": request.get("id")}
        print(json.dumps(answer), file=monitor, flush=True)
        if request["execute"] == "cont":
            flood(console)


main()
