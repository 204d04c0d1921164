"""The pages of the dashboard and their filters, which stand in the address, so that a view can be sent to somebody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import streamlit as st

from monitoring.dashboard import data, show
from monitoring.pages.catalogue import PAGES, Page, own_pages
from monitoring.pages.panels import FOLDER, Panel, read_folder
from tasks.errors import WarehouseError

_DAYS = (7, 14, 30, 90, 180, 365, 730)
_ALL = "all"
# The login of the proxy in front, by the header that oauth2-proxy and its like set.
_LOGIN = ("X-Forwarded-Email", "X-Auth-Request-Email", "X-Forwarded-User")


def main() -> None:
    """Draw the page that the address names."""
    # No icon of Streamlit's set: the browser would fetch it from a foreign host.
    st.set_page_config("Warehouse", layout="wide")
    try:
        everything = data.panels()
    except WarehouseError as error:
        st.error(str(error))
        st.stop()
    groups: dict[str, list[object]] = {}
    for page in (*PAGES, *own_pages(everything[len(read_folder(FOLDER)) :])):
        groups.setdefault(page.group, []).append(
            st.Page(_draw(page, everything), title=page.title, url_path=page.name, default=page is PAGES[0])
        )
    st.navigation(groups).run()  # type: ignore[arg-type]


def _draw(page: Page, everything: tuple[Panel, ...]) -> Callable[[], None]:
    return partial(_page, page, [panel for panel in everything if panel.page == page.name])


def _page(page: Page, shown: list[Panel]) -> None:
    st.title(page.title)
    if page.question:
        st.markdown(page.question)
    parameters = _filters(page, shown)
    for panel in shown:
        show.panel(data.answer(panel, f"{panel.page}/{panel.name}/{panel.sql}", parameters), page.question)
    if page.name == "incidents":
        _acknowledge(next(panel for panel in shown if panel.name == "open"), parameters)


def _filters(page: Page, shown: list[Panel]) -> dict[str, object]:
    """Draw the filters that the page's queries take, and return the parameters."""
    wanted = sorted({name for panel in shown for name in panel.parameters} - data.TIMES)
    timed = any(data.TIMES & panel.parameters for panel in shown)
    names = (["days"] if timed else []) + sorted(wanted, key=["source", "table"].__contains__, reverse=True)
    parameters: dict[str, object] = {}
    columns = dict(zip(names, st.columns(max(len(names), 4)), strict=False))
    days = page.days
    for name, column in columns.items():
        with column:
            if name == "days":
                days = int(_select(name, "Days", [str(one) for one in _DAYS], str(page.days)))
                continue
            source = parameters.get("source")
            found = data.choices(name, data.choice_query(name, shown), str(source) if source else None)
            chosen = _select(name, name.capitalize(), [_ALL, *found], _ALL)
            parameters[name] = None if chosen == _ALL else chosen
    # To the minute, so that every reader of it shares the cache.
    return parameters | data.period(days, datetime.now(UTC).replace(second=0, microsecond=0))


def _select(name: str, title: str, options: list[str], default: str) -> str:
    """Draw one filter, set by the address and written back to it."""
    asked = st.query_params.get(name, default)
    if asked not in options:
        options = [*options, asked] if name != "days" else options
    index = options.index(asked) if asked in options else options.index(default)
    chosen = st.selectbox(title, options, index=index)
    if chosen != default:
        st.query_params[name] = chosen
    elif name in st.query_params:
        del st.query_params[name]
    return chosen


def _acknowledge(panel: Panel, parameters: dict[str, object]) -> None:
    """Let a person take an open incident."""
    found = data.answer(panel, f"{panel.page}/{panel.name}/{panel.sql}", parameters)
    waiting = {row["id"]: f"{row['id']}: {row['title']}" for row in found.rows if not row["acknowledged_by"]}
    if not waiting:
        return
    login = next((st.context.headers[name] for name in _LOGIN if st.context.headers.get(name)), "")
    with st.form("acknowledge", clear_on_submit=True):
        st.markdown("**Take an incident**: it is not escalated further; it stays open until it is well again.")
        incident = st.selectbox("Incident", list(waiting), format_func=lambda one: waiting[one])
        who = st.text_input("Who", login, disabled=bool(login), max_chars=200)
        if st.form_submit_button("Take it"):
            if not who.strip():
                st.error("Say who takes it.")
            elif data.acknowledge(int(incident), who):
                data.answer.clear()
                st.rerun()
            else:
                st.warning("It was taken or is over already.")


main()
