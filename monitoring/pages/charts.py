"""Charts: a panel's Vega-Lite spec with its rows, drawn as SVG for the report; the dashboard draws the same spec."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.pages.formats import plain

if TYPE_CHECKING:
    from monitoring.pages.panels import Result

# Names that a spec uses for colours, for the dashboard's canvas, which knows no CSS; the report's come from its style.
COLOURS = {
    "$ok": "#2f9e5b",
    "$late": "#c77700",
    "$failed": "#d13438",
    "$none": "#8a94a3",
    "$accent": "#3b6fd8",
    "$gap": "transparent",
}
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_CATEGORIES = 8
# Text is measured with the font that the renderer brings, the same everywhere. A font of the machine it opens again for
# each character, which is two fifths of its time.
_FONTS = Path(__file__).with_name("fonts.conf")
# The page's colours by CSS, so that one drawing is right in light and dark.
_CONFIG: dict[str, Any] = {
    "background": None,
    "view": {"stroke": None},
    "font": "system-ui, sans-serif",
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "gridColor": "var(--grid)",
        "domainColor": "var(--grid)",
        "tickColor": "var(--grid)",
        "labelLimit": 130,
        "labelOverlap": "greedy",
    },
    "legend": {"labelColor": "currentColor", "titleColor": "currentColor", "orient": "bottom"},
    "text": {"fill": "currentColor"},
    "range": {"category": [f"var(--c{number})" for number in range(1, _CATEGORIES + 1)]},
}
_MARK = re.compile(r'<(path|rect|line)( [^>]*?)aria-label="([^"]*)"([^>]*?)(?:/>|></\1>)')
_ARIA = re.compile(r' (?:role|aria-[a-z]+)="[^"]*"')
_ROOT = re.compile(r"<svg [^>]*?viewBox=(\"[^\"]*\")[^>]*>")


def spec_for(result: Result, colours: Mapping[str, str]) -> dict[str, Any]:
    """Return a complete Vega-Lite spec of a panel that has a chart.

    Args:
        result: The panel with its rows; in its spec, `$days` stands for every day of the period.
        colours: What the names of `COLOURS` stand for.
    """
    text = json.dumps(result.panel.header.chart)
    for name, value in {**colours, "$days": _days(result)}.items():
        text = text.replace(f'"{name}"', json.dumps(value))
    spec: dict[str, Any] = json.loads(text)
    values = [{name: plain(value) for name, value in row.items()} for row in result.rows]
    return {"$schema": _SCHEMA, **spec, "data": {"values": values}}


def _days(result: Result) -> list[str] | None:
    """Return the days of the period, so that days on which nothing happened keep their place; None lets rows decide."""
    since, until = (result.parameters.get(name) for name in ("since", "until"))
    if not isinstance(since, datetime) or not isinstance(until, datetime):
        return None
    count = (until.date() - since.date()).days
    return [(until.date() - timedelta(days=back)).isoformat() for back in reversed(range(count))]


def svg(result: Result, width: int) -> str:
    """Return a chart as inline SVG that takes its colours from the page and tells each mark's values when pointed at.

    Args:
        result: A panel with a chart, and its rows. A screen reader says its title; the figures stand in a table beside.
        width: Width in pixels, axes and legend included.
    """
    import vl_convert

    spec = spec_for(result, {name: f"var(--{name[1:]})" for name in COLOURS})
    columns = 5 if width > 500 else 2
    config = {**_CONFIG, "legend": {**_CONFIG["legend"], "columns": columns}}
    sized = {
        "height": 220,
        **spec,
        "width": width,
        "config": config,
        "autosize": {"type": "fit", "contains": "padding"},
    }
    with _own_fonts():
        drawn = vl_convert.vegalite_to_svg(sized, allowed_base_urls=[])
    return _inline(drawn, result.panel.header.title)


@contextmanager
def _own_fonts() -> Iterator[None]:
    """Let the renderer, which reads them with its first chart, know its own fonts alone; other programs keep theirs."""
    name = "FONTCONFIG_FILE"
    before = os.environ.get(name)
    os.environ[name] = str(_FONTS)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _inline(drawn: str, label: str) -> str:
    """Make marks tell their values by a title, the whole one image with a name, and its size the page's."""
    titled = _MARK.sub(r"<\1\2\4><title>\3</title></\1>", drawn)
    bare = _ARIA.sub("", titled)
    root = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{html.escape(label)}" viewBox=\\1>'
    return _ROOT.sub(root, bare, count=1)
