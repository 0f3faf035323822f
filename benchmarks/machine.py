"""Where something was measured: the machine, the versions, the day."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import ROOT

GIB = 2**30


def about(programs: Mapping[str, Sequence[str]], options: Mapping[str, Any]) -> dict[str, Any]:
    """The first line of the raw rows. `programs` say their versions when they are called so."""
    versions = {"python": platform.python_version(), "prouter": commit()}
    versions |= {name: distribution(name) for name in ("uvloop", "aiohttp")}
    versions |= {name: said(words) for name, words in programs.items()}
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpus": len(os.sched_getaffinity(0)),
        "model": model(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 2),
        "versions": versions,
        "options": dict(options),
    }


def told(about: Mapping[str, Any]) -> str:
    """One paragraph."""
    versions = "; ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['at'][:10]}, {about['cpus']} CPUs ({about['model']}), {about['memory_gib']:g} GiB, {about['system']}, "
        f"load {about['load']:g} at the beginning. {versions}."
    )


def commit() -> str:
    """Of this repository, with a plus when there are changes."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=10", "--dirty=+"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return importlib.metadata.version("prouter")


def distribution(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not there"


def said(words: Sequence[str]) -> str:
    """A program's version: the first word of its first line that has a digit in it."""
    try:
        told = subprocess.run(words, capture_output=True, text=True, timeout=10)
    except OSError:
        return "not there"
    lines = (told.stdout + told.stderr).strip().splitlines() or [""]
    version = next((word for word in lines[0].split() if any(letter.isdigit() for letter in word)), "unknown")
    return version.rpartition("/")[2].removeprefix("v")


def model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
