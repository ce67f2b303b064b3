"""The engine: `scan` and what is built on it."""

from recurrax.scan.scan import scan
from recurrax.scan.unroll import unroll

__all__ = ["scan", "unroll"]
