"""What a measured number depends on besides the code."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("recurrax", "jax", "jaxlib", "flax", "dm-haiku", "equinox", "keras", "torch", "numpy")


def machine() -> dict[str, Any]:
    """What a number depends on besides the code."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    devices = jax.devices()
    linux = hasattr(os, "sched_getaffinity")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if linux else os.cpu_count(),
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "load at the start": round(os.getloadavg()[0], 2) if linux else None,
        "python": platform.python_version(),
        "versions": versions,
    }


def describe(machine: Mapping[str, Any]) -> str:
    """The machine in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, JAX on "
        f"{machine['devices']}; load at the start {machine['load at the start']}.\n"
        f"Python {machine['python']}, {versions}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
