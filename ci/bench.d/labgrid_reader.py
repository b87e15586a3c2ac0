"""Runs under labgrid's own Python: starts the emulator and expects a mark, as labgrid's users do.

usage: labgrid_reader.py ENVIRONMENT MARK TIMEOUT        prints `seconds N`
"""

import sys
import time

from labgrid import Environment


def main():
    environment, mark, timeout = sys.argv[1], sys.argv[2], float(sys.argv[3])
    target = Environment(environment).get_target("main")
    # Its set-up (reading the configuration, asking for QEMU's version) is not counted.
    driver = target.get_driver("QEMUDriver")
    began = time.monotonic()
    driver.on()
    driver.expect(mark, timeout=timeout)
    print(f"seconds {time.monotonic() - began:.6f}")
    driver.off()


main()
