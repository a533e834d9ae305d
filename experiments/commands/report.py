"""``report``: a comparison's results as one page that opens offline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import tyro
from rich.console import Console

from agents.files import OutputError, alone_in, require_place, write_text
from experiments.extras import require
from experiments.grid.evaluation import EpisodeResult
from experiments.report.document import Document, ReportError, make_document, render_page
from experiments.report.recordings import FILE_NAME as RECORDINGS
from experiments.report.recordings import Recordings, read_recordings
from experiments.results.records import read_results

MAXIMUM_BYTES: Final = 8_000_000
"""A page that can still be sent by mail and opened on a phone; more than half of it is the plotting library."""


@dataclass(frozen=True)
class Report:
    """Make one page of a comparison's results: figures, and a replay of slots; it opens without network."""

    results: Annotated[Path, tyro.conf.Positional]  # Folder that compare has written.
    out: Path  # HTML file to write.

    def run(self, console: Console) -> Document:
        """Write the page; return what it shows."""
        require_place(self.out)
        with alone_in(self.out.parent, "writing this report", self.out.name):
            about, rows, remarks = _results(self.results)
            path = self.results / RECORDINGS
            recordings = read_recordings(path) if path.exists() else None
            plotly_js: str = require("plotly.offline", "report").get_plotlyjs()
            document, page = fit_page(about, rows, recordings, plotly_js, remarks=remarks)
            try:
                write_text(self.out, page)
            except OSError as error:
                raise OutputError(
                    f"out: {str(self.out)!r} can't be written: {error.strerror}; expected a file in a folder"
                ) from error
        for note in document.notes:
            console.print(note)
        console.print(f"Report: {self.out} ({len(page.encode()) / 1e6:.1f} MB)")
        return document


def fit_page(
    about: dict[str, object],
    rows: list[EpisodeResult],
    recordings: Recordings | None,
    plotly_js: str,
    maximum_bytes: int = MAXIMUM_BYTES,
    remarks: Sequence[str] = (),
) -> tuple[Document, str]:
    """Return document and page with as many of the recorded episodes, from the first, as fit ``maximum_bytes``.

    Raises:
        ReportError: see :func:`make_document`; or it does not fit even without them.
    """
    recorded = 0 if recordings is None else len(recordings.episodes)
    for kept in range(recorded, -1, -1):
        notes = list(remarks)
        if kept < recorded:
            notes += [f"{kept} of {recorded} recorded episodes are shown: all would make the page too large."]
        some = None if recordings is None else recordings.model_copy(update={"episodes": recordings.episodes[:kept]})
        document = make_document(about, rows, some, notes)
        page = render_page(document, plotly_js)
        size = len(page.encode("utf-8"))
        if size <= maximum_bytes:
            return document, page
    raise ReportError(f"report: {size} bytes without any recorded episode; expected at most {maximum_bytes}")


def _results(folder: Path) -> tuple[dict[str, object], list[EpisodeResult], list[str]]:
    path = folder / "results.json"
    if not path.is_file():
        raise ReportError(
            f"results: {str(folder)!r} has no results.json that can be read; expected a folder that compare has written"
        )
    try:
        return read_results(path)
    except ValueError as error:
        raise ReportError(f"results: {error}; expected what this version's compare writes") from error
