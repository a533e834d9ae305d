"""What mkdocs does not do by itself: pages of the notebooks."""

import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def notebook_page(path: Path) -> str:
    """Return a stored notebook as Markdown."""
    parts = [f"*This page is the notebook `notebooks/{path.name}` of the repository, which a test runs.*\n"]
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```\n" if cell["cell_type"] == "code" else f"{text}\n")
    return "\n".join([parts[1], parts[0], *parts[2:]])  # the heading first


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each notebook."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook_page(path)))
    return files
