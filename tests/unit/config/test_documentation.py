"""The YAML of the documentation: every block of sources.yaml is loaded as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tasks.sources import load_sources

ROOT = Path(__file__).parents[3]
MANIFEST = ROOT / "infra/sample/connectors/manifest.yaml"
# What other files than sources.yaml begin with: dbt's.
OTHERS = ("models:", "packages:", "vars:")


def blocks() -> list[tuple[str, int, str]]:
    """Return page, number and text of each block; what is indented goes on where the page's first block ends."""
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        texts = re.findall(r"^```ya?ml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        for number, text in enumerate(texts, start=1):
            whole = texts[0] + text if text.startswith(" ") else text
            found.append((str(page.relative_to(ROOT)), number, whole))
    return [(page, number, text) for page, number, text in found if not text.startswith(OTHERS)]


@pytest.mark.parametrize(("page", "number", "text"), [pytest.param(*one, id=f"{one[0]}-{one[1]}") for one in blocks()])
def test_a_block_of_the_documentation_is_valid(
    page: str, number: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The manifest that docs/sources/airbyte.md names is the reader's own.
    (tmp_path / "connectors").mkdir()
    shutil.copy(MANIFEST, tmp_path / "connectors" / "partner.yaml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sources.yaml").write_text(text)
    names = re.findall(r"\$\{(\w+)\}", text)
    assert load_sources(tmp_path / "sources.yaml", dict.fromkeys(names, "given")).refs()


def test_the_blocks_are_found() -> None:
    assert {"README.md", "docs/contracts.md", "docs/sources/channels.md"} <= {page for page, _, _ in blocks()}
