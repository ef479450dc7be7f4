"""Measurements in a process of their own, one at a time, and the peak of their memory.

Scripts of this folder share it. What shares two cores measures the others, and memory
that one fit has left behind is no longer to be told from that of the next.
"""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

MIB = 2**20
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


def in_own_process(script, *arguments, limit=None):
    """What `script` prints last, read as JSON.

    Raises `subprocess.TimeoutExpired` after `limit` seconds, RuntimeError if it fails.
    """
    command = [sys.executable, "-W", "ignore", script, *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=limit,
        env={**os.environ, **ONE_THREAD},
    )
    if done.returncode:
        reason = done.stderr[-2_000:].strip() or f"exit code {done.returncode}"
        raise RuntimeError(f"{' '.join(command)} failed:\n{reason}")
    return json.loads(done.stdout.splitlines()[-1])


def resident():
    """Bytes that this process holds in memory."""
    return psutil.Process().memory_info().rss


class PeakMemory:
    """The most that the block holds above what the process held before: `mib`.

    Linux keeps this peak itself. Elsewhere it is looked up every 20 ms, which misses
    what comes and goes inside a call that does not let go of the interpreter.
    """

    def __enter__(self):
        gc.collect()
        self.start = self.peak = resident()
        self.running = not self._reset()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    @staticmethod
    def _reset():
        """Whether Linux set its record of the peak back to what is held now."""
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def _watch(self):
        while self.running:
            self.peak = max(self.peak, resident())
            time.sleep(0.02)

    def __exit__(self, *error):
        if self.running:
            self.running = False
        else:
            status = Path("/proc/self/status").read_text()
            kib = status.split("VmHWM:")[1].split()[0]
            self.peak = max(self.peak, 1024 * int(kib))
        self.thread.join()
        self.mib = (self.peak - self.start) / MIB
