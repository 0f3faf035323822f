"""The original pAgent 0.6, imitated: `python pagent.py --router HOST:PORT --token T --uid U`, or `--listen`."""

from __future__ import annotations

from agent_v0.app import main

if __name__ == "__main__":
    main()
