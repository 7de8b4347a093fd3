"""The report of a run: one HTML file that opens offline.

``reading`` makes `RunData` from a run's folder, ``figures`` and ``plots`` make its plots,
``network`` the picture of an architecture, and ``page`` the file.
"""

from nas_cli.report.network import draw
from nas_cli.report.page import write_report
from nas_cli.report.reading import load_run

__all__ = ["draw", "load_run", "write_report"]
