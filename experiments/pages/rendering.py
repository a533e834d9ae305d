"""Pages from templates: ``templates/`` has the words, Python the numbers."""

import re
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.results.statistics import Estimate

MINUS: Final = "\N{MINUS SIGN}"
_TEMPLATES: Final = Path(__file__).parent / "templates"
_WIDTH: Final = 125


def render(template: str, **values: Any) -> str:
    """Return the page that a template gives with these values, its paragraphs wrapped."""
    blocks = re.split(r"\n\s*\n", _environment().get_template(template).render(values).strip())
    return "\n\n".join(map(_wrapped, blocks)) + "\n"


def code(text: str) -> str:
    """Return text as code in Markdown."""
    return f"`{text}`"


def listing(words: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def number(value: float | None, form: str = "g") -> str:
    """Return a number in a format of Python's, with a typographic minus sign; nothing for None."""
    return "" if value is None else format(value, form).replace("-", MINUS)


def plain(estimate: Estimate | None, decimals: int = 2) -> str:
    """Return ``6.65 [6.59, 6.71]``; nothing for None."""
    return "" if estimate is None else estimate.as_text(decimals).replace("-", MINUS)


def signed(estimate: Estimate | None, decimals: int = 2, unit: str = "") -> str:
    """Return ``+0.53 [+0.50, +0.56]``, with the unit behind the mean; nothing for None."""
    if estimate is None:
        return ""
    mean, bracket, interval = estimate.as_text(decimals, sign=True).partition(" [")
    return f"{mean}{unit}{bracket}{interval}".replace("-", MINUS)


def cell(text: str) -> str:
    """Return text that can stand in a table."""
    return text.replace("|", "/")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - Markdown
    )  # fmt: skip
    environment.filters |= {one.__name__: one for one in (code, listing, number, plain, signed, cell)}
    return environment


def _wrapped(block: str) -> str:
    """Wrap a paragraph, but not in its code; tables, lists, headings, plots and commands stay as they are."""
    if block.startswith(("|", "- ", "#", "!", "```")):
        return block
    kept = re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", "\0"), " ".join(block.split()))
    return textwrap.fill(kept, _WIDTH, break_long_words=False, break_on_hyphens=False).replace("\0", " ")
