"""The report says what happened, what to do and who; figures are sums of known rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from monitoring import freshness, history, log, report
from monitoring.pages import html
from monitoring.queries import Incident
from tasks.paging import pages

RUN, CHILD = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"


def row(stage: str, table: str | None = None, **more: Any) -> dict[str, Any]:
    source, name = table.split(".") if table else (None, None)
    return {"flow_run_id": CHILD, "stage": stage, "source": source, "table_name": name, "state": "Completed"} | more


def pipeline(state: str = "Completed", **more: Any) -> dict[str, Any]:
    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return row("pipeline", state=state, flow_run_id=RUN, started_at=began, seconds=60.0) | more


GOOD = [
    pipeline(),
    row("extract", "shop.orders", rows_read=1000, rows_landed=990, rows_rejected=10, seconds=2.0),
    row("load", "shop.orders", rows_landed=990, rows_loaded=900, rows_unchanged=90, rows_rescued=3, seconds=3.0),
    row("extract", "shop.tags", rows_read=0, rows_landed=0, seconds=1.0),
    row("dbt", "gold.fct_order", seconds=4.0),
    row("dbt", "test.not_null", seconds=1.0),
]


def test_stages_of_a_table_are_one_line_and_nothing_is_counted_twice() -> None:
    (orders, tags) = report.build(GOOD).tables
    assert orders.name == "shop.orders"
    assert (orders.counts["rows_read"], orders.counts["rows_landed"], orders.counts["rows_loaded"]) == (1000, 990, 900)
    assert orders.counts["rows_rejected"] == 10 and orders.seconds == 5.0 and orders.rows_per_second == 200
    assert tags.counts["rows_read"] == 0 and tags.counts["rows_loaded"] is None


def test_a_reject_of_extract_that_load_wrote_down_is_one_reject() -> None:
    ranges = [row("extract", "shop.orders", rows_rejected=count, flow_run_id=str(count)) for count in (2, 3)]
    assert report.build([pipeline(), *ranges]).tables[0].counts["rows_rejected"] == 5
    loaded = row("load", "shop.orders", rows_rejected=6)
    assert report.build([pipeline(), *ranges, loaded]).tables[0].counts["rows_rejected"] == 6


def test_ranges_of_a_table_add_up() -> None:
    ranges = [row("extract", "shop.orders", rows_read=5, flow_run_id=str(number)) for number in range(4)]
    assert report.build([pipeline(), *ranges]).tables[0].counts["rows_read"] == 20


def test_the_fields_most_rescued_are_named_with_the_remedy() -> None:
    most, other = (f"shop.orders, {one} string value(s) in a column of bigint" for one in ("age: 390", "size: 3"))
    built = report.build(GOOD, context=report.Context(rescued=[most, other]))
    assert f"3 rescued (column `_rescued`; most: {most})" in built.headline
    text = report.render_text(built)
    assert f"Most rescued: {most}; shop.orders, size: 3 string value(s)" in text
    assert "types: {age: int}" in text
    assert "`" not in text
    assert "`types: {age: int}`" in report.render_markdown(built)


def test_the_first_line_of_a_good_run() -> None:
    headline = report.build(GOOD).headline
    assert headline == (
        "All well: 2 of 2 table(s) loaded, 900 rows changed in 60 s. Nothing to do, "
        "but look at 10 rejected (`warehouse rejects list`), 3 rescued (column `_rescued`)."
    )


def test_deleted_rows_are_changed_rows() -> None:
    found = [pipeline(), row("load", "shop.orders", rows_loaded=0, rows_deleted=7)]
    assert "1 table(s) loaded, 7 rows changed" in report.build(found).headline


def test_the_first_line_of_a_bad_run_names_the_cause_and_who_acts() -> None:
    bad = [
        *GOOD,
        row("dbt", "gold.x", state="Failed", error_class="data_quality", error_message="got 1 result"),
        row("extract", "crm.leads", state="Failed", error_class="auth", error_message="refused\nmore"),
        row("extract", state="Failed", error_message="1 of 2 tables failed"),
    ]
    built = report.build([pipeline("Failed"), *bad[1:]])
    assert [item.name for item in built.failures] == ["crm.leads", "gold.x"]
    assert built.headline.startswith("2 failure(s): 2 of 3 table(s) loaded")
    assert "First: crm.leads (extract): refused. Who acts: owner of the credentials." in built.headline


def test_what_an_error_says_is_to_be_done_stands_in_the_first_line() -> None:
    said = "SourceAuthError: the token has ended | meta_ads | make a new token of the system user"
    bad = row("extract", "meta_ads.ads", state="Failed", error_class="auth", error_message=said)
    headline = report.build([pipeline("Failed"), bad]).headline
    assert "SourceAuthError: the token has ended (meta_ads). Who acts: owner of the credentials. " in headline
    assert "credentials. Make a new token of the system user. Runbook: docs/runbooks/classes/auth.md." in headline


def test_causes_come_before_what_follows_from_them_and_rejected_rows_are_named() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rest = ("x", "Look.", "docs/runbooks/x.md", at, at, 1, None, None, None, None)
    differs = Incident(2, "reconciliation", "high", "data_quality", "rows", "rows: reconciliation", "146, 145", *rest)
    failed = Incident(1, "failure", "high", "auth", "extract a.b", "a.b: credentials", "refused", *rest)
    context = report.Context(incidents=[differs, failed], rejected=["shop.products: 7"])
    headline = report.build(GOOD, context=context).headline
    assert "First: a.b: credentials: refused. Who acts: x." in headline
    assert headline.endswith("10 row(s) rejected (`warehouse rejects list`: shop.products: 7).")


def test_a_run_that_crashed_without_a_word_of_its_tables_is_a_failure() -> None:
    rows = [pipeline("Failed"), row("extract", state="Crashed", error_class="resource", flow_name="extract")]
    (failure,) = report.build(rows).failures
    assert (failure.name, failure.error_class, failure.message) == ("extract", "resource", "ended as Crashed")


def test_a_killed_run_of_many_tables_is_one_failure_with_its_own_first_step() -> None:
    said = "its process is gone: it was killed, or the machine was restarted | host a, process 7 | run again"
    missing = {"state": "Missing", "error_class": "resource", "error_message": said}
    tables = [row(stage, f"shop.{name}", **missing) for stage in ("extract", "load") for name in ("orders", "tags")]
    killed = pipeline("Crashed", error_class="resource", error_message=said)
    headline = report.build([killed, *tables]).headline
    assert headline == (
        "1 failure(s): 0 of 2 table(s) loaded, 0 rows changed in 60 s. First: 2 tables, such as shop.orders (extract): "
        "its process is gone: it was killed, or the machine was restarted (host a, process 7). "
        "Who acts: platform engineer. Run again. Runbook: docs/runbooks/classes/resource.md."
    )


def test_a_model_is_its_owners() -> None:
    said = {"state": "Failed", "error_class": "model", "error_message": "column x does not exist"}
    rows = [pipeline("Failed"), row("dbt", "gold.rpt_rfm", **said), row("dbt", "gold.fct_order", **said)]
    built = report.build(rows, context=report.Context(owners={"gold.rpt_rfm": "crm team"}))
    assert {one.name: one.who for one in built.failures} == {
        "gold.rpt_rfm": "crm team",
        "gold.fct_order": "owner of the model",
    }


def test_a_pipeline_that_failed_before_any_step_says_why() -> None:
    rows = [pipeline("Failed", error_class="config", error_message="ConfigError: 2 mistakes", flow_name="pipeline")]
    assert "ConfigError: 2 mistakes" in report.build(rows).headline


def test_against_the_run_before() -> None:
    before = [pipeline(seconds=30.0), row("extract", "shop.orders", rows_read=100)]
    built = report.build(GOOD, before)
    assert report.note(built.tables[0]) == "+900%"
    assert report.note(built.tables[1]) == ""
    assert "the run before took 30 s" in report.render_text(built)


def test_a_first_whole_read_is_no_measure_for_the_changes_after_it() -> None:
    before = [pipeline(), row("extract", "shop.orders", rows_read=100_000)]
    after = [pipeline(), row("extract", "shop.orders", rows_read=3, window_from="2026-01-01 00:00:00")]
    (line,) = report.build(after, before).tables
    assert (line.before, report.note(line)) == (None, "")
    (line,) = report.build([pipeline(), row("extract", "shop.orders", rows_read=3)], before).tables
    assert (line.before, report.note(line)) == (100_000, "-100%")


def test_reads_of_other_lengths_are_no_measure_for_each_other() -> None:
    def read(rows: int, begin: str) -> dict[str, Any]:
        return row("extract", "meta.ads", rows_read=rows, window_from=begin, window_to="2026-12-01")

    years, month, another = read(9_000, "2024-01-01"), read(60, "2026-11-01"), read(300, "2026-11-03")
    (line,) = report.build([pipeline(), month], [pipeline(), years]).tables
    assert line.before is None
    (line,) = report.build([pipeline(), another], [pipeline(), month]).tables
    assert (line.before, report.note(line)) == (60, "+400%")


def test_schema_changes_are_those_that_people_should_see() -> None:
    loaded = row("load", "shop.orders", schema_changes=31)
    change = {"source": "shop", "table_name": "orders", "field": "zip", "change": "widened", "action": "altered"}
    assert "schema" not in report.build([pipeline(), loaded]).headline
    built = report.build([pipeline(), loaded], schema_changes=[change])
    assert "look at 1 schema changes (`warehouse drift`)" in built.headline
    assert built.tables[0].counts["schema_changes"] == 1


def test_every_rendering_holds_the_same_facts() -> None:
    bad = row("load", "shop.orders", state="Failed", error_class="resource", error_message="<b>out of memory | `x`</b>")
    changes = [{"source": "shop", "table_name": "orders", "field": "zip", "change": "widened", "action": "altered"}]
    built = report.build([*GOOD, bad], schema_changes=changes)
    markdown, text, page = report.render_markdown(built), report.render_text(built), html.render(built, [])
    assert markdown.splitlines()[0] == built.headline
    assert text.splitlines()[0] == built.headline.replace("`", "")
    for rendered in (markdown, text, page):
        assert "shop.orders" in rendered and "out of memory" in rendered
    assert "out of memory \\| 'x'" in markdown
    assert "&lt;b&gt;out of memory" in page and "<b>out" not in page
    assert "widened" in markdown and "widened" in page


def test_nothing_at_all_still_renders() -> None:
    built = report.build([])
    assert report.render_markdown(built) and report.render_text(built) and html.render(built, [])


def test_rows_of_artifacts_come_as_json_text_and_only_ours_are_taken() -> None:
    text = '[{"stage": "extract", "source": "shop", "table_name": "orders", "rows_read": 5, "other": 1}, {"unit": "x"}]'
    assert history.artifact_rows(text) == [
        {"stage": "extract", "source": "shop", "table_name": "orders", "rows_read": 5}
    ]
    for odd in (None, "not json", '{"a": 1}', "[1, 2]"):
        assert history.artifact_rows(odd) == []


def test_pages_are_read_to_the_last() -> None:
    items = list(range(450))
    asked: list[tuple[int, int]] = []

    def read(limit: int, offset: int) -> list[int]:
        asked.append((limit, offset))
        return items[offset : offset + limit]

    assert list(pages(read)) == items
    assert asked == [(200, 0), (200, 200), (200, 400)]


def test_ids_are_stable_and_apart() -> None:
    first, again, other = GOOD[1], {**GOOD[1], "rows_read": 7, "state": "Failed"}, GOOD[2]
    assert log.row_id(first) == log.row_id(again) != log.row_id(other)


def test_values_of_artifacts_are_json() -> None:
    import json
    from decimal import Decimal

    made = log.json_safe({"started_at": datetime(2026, 1, 1, tzinfo=UTC), "rows_read": Decimal(3), "x": object()})
    assert json.loads(json.dumps(made)) == {"started_at": "2026-01-01T00:00:00+00:00", "rows_read": 3.0}


def verdict(relation: str, state: str, because: str | None = None, layer: str = "gold") -> freshness.Verdict:
    as_of = datetime(2026, 1, 1, 4, 15, tzinfo=UTC)
    return freshness.Verdict(layer, relation, as_of, freshness.DEFAULT_SLA, state, as_of, because)


def test_all_is_only_well_where_gold_is_as_fresh_as_promised() -> None:
    stale = verdict("gold.fct_order", "stale", "shop.orders: no run has read it")
    context = report.Context(freshness=[verdict("gold.dim_date", "fresh"), stale])
    headline = report.build(GOOD, context=context).headline
    assert headline.startswith("Not as fresh as promised: 2 of 2 table(s) loaded")
    assert "1 of 2 mart(s) not up to date: fct_order as of 2026-01-01 04:15 (stale)" in headline
    assert "because of shop.orders: no run has read it" in headline
    assert "Who acts: analytics engineer. Mend what it waits for" in headline
    owned = report.Context(freshness=[replace(stale, owner="crm team")])
    assert "Who acts: crm team." in report.build(GOOD, context=owned).headline
    bronze = report.Context(freshness=[verdict("shop.orders", "stale", layer="bronze"), verdict("gold.x", "fresh")])
    assert report.build(GOOD, context=bronze).headline.startswith("All well")


def test_all_is_not_well_while_an_incident_is_open() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    texts = ("anomaly", "low", "data_quality", "spend of meta", "spend of meta: anomaly", "twice as much", "marketing")
    opened = Incident(7, *texts, "Look.", "docs/runbooks/x.md", at, at, 1, None, None, None, None)
    wrong = report.Context(freshness=[verdict("gold.x", "fresh")], incidents=[opened])
    built = report.build(GOOD, context=wrong)
    assert not built.is_well
    assert built.headline == (
        "1 incident(s) open: 2 of 2 table(s) loaded, 900 rows changed in 60 s. First: spend of meta: anomaly: "
        "twice as much. Who acts: marketing. Look. Runbook: docs/runbooks/x.md. "
        "10 row(s) rejected (`warehouse rejects list`)."
    )
    taken = report.Context(incidents=[replace(opened, acknowledged_by="Ada")])
    assert "Who acts: marketing. Taken by Ada. Look." in report.build(GOOD, context=taken).headline


def test_all_is_not_well_where_a_file_was_refused() -> None:
    context = report.Context(refused=["ads.meta: day.csv: not UTF-8"])
    headline = report.build(GOOD, context=context).headline
    assert headline.startswith("1 file(s) refused, ads.meta: day.csv: not UTF-8: 2 of 2")


def test_a_failure_tells_marts_skipped_nodes_rows_and_runbook() -> None:
    rows = [
        pipeline("Failed"),
        row("extract", "crm.leads", state="Failed", error_class="auth", error_message="refused"),
        row("dbt", "gold.fct_lead", state="Skipped"),
        row("dbt", "gold.rpt_lead", state="Skipped"),
    ]
    context = report.Context(
        freshness=[verdict("gold.fct_lead", "behind")], rejected=[f"crm.leads: {n}" for n in "123456"]
    )
    headline = report.build(rows, context=context).headline
    for part in (
        "1 of 1 mart(s) not up to date: fct_lead as of 2026-01-01 04:15.",
        "2 node(s) skipped.",
        "Runbook: docs/runbooks/classes/auth.md.",
        "(`warehouse rejects list`: crm.leads: 1, crm.leads: 2, crm.leads: 3, crm.leads: 4, crm.leads: 5).",
    ):
        assert part in headline, part


def test_a_run_that_goes_on_or_never_started_is_not_well() -> None:
    assert report.build([pipeline("Running")]).headline == "Not over: this run is running since 2026-01-02 03:04 UTC."
    late = pipeline("Late", started_at=None, error_class="resource", error_message="was due at 04:15", seconds=None)
    assert report.build([late]).headline == (
        "Not over: this run is late. was due at 04:15. Who acts: platform engineer."
    )
    lost = pipeline("Lost", error_class="resource", error_message="Prefect no longer knows this run")
    assert "Prefect no longer knows this run" in report.build([lost]).headline
