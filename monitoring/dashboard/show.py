"""Draws panels: figures, cards, charts and tables, each with its definition and as of when its data is."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlencode

import streamlit as st

from monitoring.pages import charts, formats
from monitoring.pages.panels import Column, Result
from monitoring.taxonomy import CLASSES

_BEFORE = "_before"
# Pixels of a figure and of a card: as many stand beside each other as the window has room for.
_FIGURE, _CARD = 172, 230
_ROUNDED = 10_000
_CHANGE: dict[str, Literal["normal", "inverse", "off"]] = {"more": "normal", "less": "inverse", "neither": "off"}
# As many entries of a legend beside each other as the chart has room for: of a fixed number a phone cuts some off.
_CONFIG = {
    "legend": {"orient": "bottom", "columns": {"expr": "max(1, floor(width / 130))"}, "labelLimit": 220},
    "axis": {"labelOverlap": "greedy"},
}


def panel(result: Result, page_question: str = "") -> None:
    """Draw one panel; its question is left out where the page has asked it."""
    header = result.panel.header
    # The page's title is the first level: who hears the page goes from heading to heading.
    st.markdown(f"## {_escape(header.title)}", help=header.definition or None)
    about = [
        header.question if header.question != page_question else "",
        f"Data as of {formats.show(result.as_of)}." if result.as_of else "",
        f"Amounts in {result.currency}." if result.currency else "",
    ]
    # No caption: its grey on white has too little contrast.
    st.markdown(" ".join(filter(None, about)))
    if result.problem:
        st.info(result.problem, icon=":material/info:")
    elif not result.rows:
        st.info(header.empty, icon=":material/check:")
    else:
        _DRAW[header.kind](result)
        if result.more:
            st.markdown(f"The first {len(result.rows):,} rows are shown; there are more.")


def _figures(result: Result) -> None:
    """Draw one row as figures, each against the same of the period before."""
    row = result.rows[0]
    names = [name for name in row if not name.endswith(_BEFORE)]
    with st.container(horizontal=True):
        for name in names:
            _figure(result.panel.column(name), row[name], row.get(name + _BEFORE))


def _figure(column: Column, now: Any, before: Any) -> None:
    about, shown = column.definition, formats.show(now, column.format)
    # A card has no room for the cents of a large amount.
    if column.format == "money" and now is not None and abs(now) >= _ROUNDED:
        about, shown = f"{about} Exactly {shown}.", f"{now:,.0f}"
    change = f"{100 * (now - before) / before:+.1f} %" if before and now is not None else None
    st.metric(
        column.title, shown, change, delta_color=_CHANGE[column.better], help=about or None, border=True, width=_FIGURE
    )


def _cards(result: Result) -> None:
    """Draw each row as a card, its first column the heading."""
    with st.container(horizontal=True):
        for row in result.rows:
            first, *others = row
            with st.container(border=True, width=_CARD):
                columns = {name: result.panel.column(name) for name in others if row[name] is not None}
                lines = [
                    f":gray[{_escape(column.title)}] {_mark(row[name], column)}" for name, column in columns.items()
                ]
                st.markdown("  \n".join([f"**{_escape(str(row[first]))}**", *lines]))


def _mark(value: Any, column: Column) -> str:
    shown = _escape(formats.show(value, column.format))
    if column.format != "state":
        return shown
    colour, icon = {"ok": ("green", "check"), "failed": ("red", "close")}.get(str(value), ("orange", "priority_high"))
    return f":{colour}-badge[:material/{icon}: {shown}]"


def _escape(text: str) -> str:
    """Keep what Markdown would read as its own."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()#+-!|<>:$~" else letter for letter in text)


def _chart(result: Result) -> None:
    spec = charts.spec_for(result, charts.COLOURS)
    sized = {"height": 240, **spec, "config": _CONFIG, "autosize": {"type": "fit-x", "contains": "padding"}}
    st.vega_lite_chart(sized, width="stretch", key=_key(result, "chart"))
    with st.expander("The figures"):
        _table(result)


def _table(result: Result) -> None:
    columns = {name: result.panel.column(name) for name in result.rows[0]}
    rows = [{name: _value(value, columns[name]) for name, value in row.items()} for row in result.rows]
    config = {name: _column(column) for name, column in columns.items()}
    st.dataframe(
        rows,
        width="stretch",
        hide_index=True,
        column_config=config,
        placeholder=formats.NOTHING,
        key=_key(result, "table"),
    )


def _key(result: Result, kind: str) -> str:
    return f"{kind}-{result.panel.page}-{result.panel.name}"


def _value(value: Any, column: Column) -> Any:
    """Return a value as the table wants it: numbers as numbers, so that people can sort by them."""
    if column.format == "owner":
        kind = CLASSES.get(str(value))
        return f"{kind.title}: {kind.who}" if kind else value
    if column.format == "table" and value is not None:
        source, _, table = str(value).partition(".")
        # The column shows what follows the last sign of all.
        return f"table?{urlencode({'source': source, 'table': table})}#{value}"
    if isinstance(value, timedelta) or column.format == "age":
        return formats.show(value, "age") if value is not None else None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list | str):
        # A cell shows no Markdown.
        return formats.show(value).replace("`", "")
    return value


_NUMBERS: dict[str, str] = {
    "count": "localized",
    "number": "%.1f",
    "money": "accounting",
    "percent": "percent",
    "ratio": "%.2f",
    "bytes": "bytes",
    "seconds": "%.2f s",
}


def _column(column: Column) -> Any:
    about = column.definition or None
    if column.format in _NUMBERS:
        return st.column_config.NumberColumn(column.title, format=_NUMBERS[column.format], help=about)
    if column.format == "time":
        return st.column_config.DatetimeColumn(column.title, format="YYYY-MM-DD HH:mm", timezone="UTC", help=about)
    if column.format in ("date", "month"):
        form = "YYYY-MM" if column.format == "month" else "YYYY-MM-DD"
        return st.column_config.DateColumn(column.title, format=form, help=about)
    if column.format == "table":
        return st.column_config.LinkColumn(column.title, display_text=r"#(.*)$", help=about)
    if column.format == "link":
        return st.column_config.LinkColumn(column.title, display_text=column.title, help=about)
    return st.column_config.TextColumn(column.title, help=about)


_DRAW = {"figures": _figures, "cards": _cards, "chart": _chart, "table": _table}
