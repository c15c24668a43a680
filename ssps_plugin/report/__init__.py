"""A report of training runs: one HTML file and PNGs."""

from ssps_plugin.report.report import write_report

__all__ = ["write_report"]
