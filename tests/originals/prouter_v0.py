"""The original pRouter 0.2, imitated: `python prouter_v0.py --accept-token T`; agents dial its server port."""

from __future__ import annotations

from router_v0.app import main

if __name__ == "__main__":
    main()
