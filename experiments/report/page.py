"""Puts document, style and scripts into one HTML file that needs nothing else."""

import html
import json
import re
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from experiments.report.document import Document

STATIC: Final = Path(__file__).parent / "static"
SCRIPTS: Final = (
    "basics.js",
    "figures.js",
    "episode.js",
    "words.js",
    "queue.js",
    "timeline.js",
    "replay.js",
    "page.js",
)
"""In order: each may use what those before it define."""


def render_page(document: Document, plotly_js: str) -> str:
    """Return the page.

    Args:
        document: what it shows.
        plotly_js: the plotting library's source.
    """
    parts = {
        "TITLE": html.escape(document.title),
        "STYLE": _static("page.css"),
        "DATA": as_script_data(TypeAdapter(Document).dump_python(document, mode="json")),
        "PLOTLY": plotly_js,
        "SCRIPT": "\n".join(_static(name) for name in SCRIPTS),
    }
    # One pass: what is put in is never searched for places itself.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda place: parts[place[1]], _static("page.html"))


def as_script_data(tree: Any) -> str:
    """Return JSON that can stand inside a script element, whatever texts it holds."""
    text = json.dumps(tree, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
