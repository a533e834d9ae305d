"""What mkdocs does not do by itself: pages of the notebooks, and a page for each section of the page of scenarios."""

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
SHIPPED = "edgellm_env/scenario/shipped"
SECTION = re.compile(r"^## `([\w-]+)`\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)


def scenario_sections() -> dict[str, str]:
    """Return the sections of the page of scenarios, by the scenario's name."""
    return dict(SECTION.findall((ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")))


def scenario_page(name: str, section: str) -> str:
    """Return a scenario's own page: its section, and its file."""
    path = f"{SHIPPED}/{name}.yaml"
    section = re.sub(r"\]\((?!https?:|#)", "](../", section)
    text = (ROOT / path).read_text(encoding="utf-8")
    return f"# {name}\n{section}\n## The file\n\n`{path}`\n\n```yaml\n{text}```\n"


def notebook_page(path: Path) -> str:
    """Return a stored notebook as Markdown, its heading first."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```\n" if cell["cell_type"] == "code" else f"{text}\n")
    heading, _, rest = parts[0].partition("\n")
    about = f"*This page is the notebook `notebooks/{path.name}` of the repository, which a test runs.*"
    return "\n".join([f"{heading}\n\n{about}\n{rest}", *parts[1:]])


def on_config(config: Any) -> Any:
    """Put the scenarios' pages into the navigation."""
    (entry,) = [entry for entry in config.nav if "Scenarios" in entry]
    entry["Scenarios"] = ["scenarios.md", *({name: f"scenarios/{name}.md"} for name in scenario_sections())]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each notebook and each scenario."""
    pages = {f"scenarios/{name}.md": scenario_page(name, text) for name, text in scenario_sections().items()}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        pages[f"notebooks/{path.stem}.md"] = notebook_page(path)
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leave the first paragraph of each scenario and a link on the page of all."""
    if page.file.src_uri != "scenarios.md":
        return markdown

    def short(found: re.Match[str]) -> str:
        name, first = found[1], found[2].strip().split("\n\n")[0]
        return f"## `{name}`\n\n{first}\n\n[Its numbers, where they come from, and its file](scenarios/{name}.md)\n\n"

    return SECTION.sub(short, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Leave out Sphinx's roles, which docstrings have for other readers."""
    return re.sub(r":(?:func|class|meth|attr|mod|data):(?=<code>)", "", html)
