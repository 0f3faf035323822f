"""A job whose tree does all that it can to stay: `nasty_tree.py MARK`. Every process has MARK in its command line.

Writes `ready` once the whole tree is there.
"""

import os
import signal
import subprocess
import sys
import time

mark = sys.argv[1]
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)", mark]
IGNORE = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(600)"


def daemonize(command: list[str], env: dict[str, str] | None = None) -> None:
    """setsid and a double fork: its parent is gone at once."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvpe(command[0], command, dict(os.environ) if env is None else env)
        os._exit(0)


for _ in range(5):
    daemonize(SLEEP)
daemonize(SLEEP, env={})
daemonize([sys.executable, "-S", "-c", IGNORE, mark])
stopped = subprocess.Popen(SLEEP, start_new_session=True)
os.kill(stopped.pid, signal.SIGSTOP)
subprocess.Popen(
    [
        sys.executable,
        "-S",
        "-c",
        "import ctypes, os, subprocess, sys, time; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0);"
        "[subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)', sys.argv[1]],"
        " start_new_session=True) for _ in range(3)]; time.sleep(600)",
        mark,
    ],
    start_new_session=True,
)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(0.2)
with open("ready.new", "w") as file:
    file.write("ready")
os.rename("ready.new", "ready")
while True:
    time.sleep(600)
