"""Runs a command and writes what it took: `measure.py REPORT COMMAND...`.

A process of its own, because the peak that Linux tells of a child begins at the size of the parent that forked it.
"""

import json
import os
import subprocess
import sys
import time


def main():
    report, *command = sys.argv[1:]
    start = time.perf_counter()
    with subprocess.Popen(command) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    taken = {
        "wall_s": time.perf_counter() - start,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
        "code": child.returncode,
    }
    with open(report, "w", encoding="utf-8") as file:
        json.dump(taken, file)


if __name__ == "__main__":
    main()
