"""The engine: `scan` and what is built on it."""

from recurrax.scan.product import matmul
from recurrax.scan.report import ScanReport, scan_report
from recurrax.scan.scan import scan
from recurrax.scan.unroll import unroll

__all__ = ["ScanReport", "matmul", "scan", "scan_report", "unroll"]
