"""The column block of a staging model: what bronze has, under every name that it had; all else is a person's."""

from __future__ import annotations

import pytest

from tasks.dbt.staging import Bronze, BronzeColumn, new_block, updated

PHONE, ITEMS = BronzeColumn("phone", "text"), BronzeColumn("itemCount", "bigint")
FIRST = Bronze("shop__customers", [PHONE, ITEMS])
MODEL = """\
{%- set bronze = warehouse.bronze_table('shop', 'customers') -%}
select
    -- warehouse: columns of shop.customers, kept by `warehouse drift write-dbt shop.customers`
    bronze_rows._id as customer_id,
    {{ warehouse.bronze_value(bronze, 'phone', 'text') }} as phone,
    {{ warehouse.bronze_value(bronze, 'itemCount', 'bigint') }} as item_count
    -- warehouse: end
from {{ bronze.rows }}
"""


def bronze(*columns: tuple[str, str], **renamed: str) -> Bronze:
    return Bronze("shop__customers", [PHONE, ITEMS, *(BronzeColumn(*column) for column in columns)], renamed)


def new_lines(before: str, after: str | None) -> list[str]:
    assert after is not None
    return [line.strip() for line in after.splitlines() if line not in before.splitlines()]


def test_a_new_block_is_what_the_next_run_finds_up_to_date() -> None:
    assert new_block("shop", "customers", FIRST) in MODEL
    assert updated(MODEL, FIRST) == MODEL


def test_a_field_that_is_gone_stays() -> None:
    assert updated(MODEL, Bronze("shop__customers", [ITEMS])) == MODEL


def test_new_fields_come_at_the_end_under_the_next_free_names() -> None:
    now = bronze(("item_count", "text"), ("address.zip", "text"), ("customerId", "timestamp with time zone"))
    after = updated(MODEL, now)
    assert new_lines(MODEL, after) == [
        "{{ warehouse.bronze_value(bronze, 'itemCount', 'bigint') }} as item_count,",
        "{{ warehouse.bronze_value(bronze, 'item_count', 'text') }} as item_count_2,",
        "{{ warehouse.bronze_value(bronze, 'address.zip', 'text') }} as address_zip,",
        "{{ warehouse.bronze_value(bronze, 'customerId', 'timestamptz') }} as customer_id_2",
    ]
    assert after is not None and updated(after, now) == after


def test_a_rename_is_read_as_one_under_the_new_name_and_the_old_one_stays_whole_for_models_above() -> None:
    now = bronze(("tel", "text"), ("mobile", "text"), tel="phone", mobile="tel")
    after = updated(MODEL, now)
    paths = "['mobile', 'tel', 'phone']"
    assert new_lines(MODEL, after) == [
        f"{{{{ warehouse.bronze_value(bronze, {paths}, 'text') }}}} as phone,",
        "{{ warehouse.bronze_value(bronze, 'itemCount', 'bigint') }} as item_count,",
        f"{{{{ warehouse.bronze_value(bronze, {paths}, 'text') }}}} as tel,",
        f"{{{{ warehouse.bronze_value(bronze, {paths}, 'text') }}}} as mobile",
    ]
    assert after is not None and updated(after, now) == after
    # Once a person closed the entries, what was written stays.
    assert updated(after, Bronze(now.relation, now.columns)) == after


def test_two_fields_that_may_have_been_one_before_are_not_mixed() -> None:
    after = updated(MODEL, bronze(("tel", "text"), ("fax", "text"), tel="phone", fax="phone"))
    assert after is not None
    assert "bronze_value(bronze, 'phone', 'text') }} as phone," in after
    assert "bronze_value(bronze, ['tel', 'phone'], 'text') }} as tel," in after
    assert "bronze_value(bronze, ['fax', 'phone'], 'text') }} as fax" in after


@pytest.mark.parametrize(
    ("written", "has", "then"),
    [
        ("bigint", "numeric", "numeric"),
        ("bigint", "double precision", "double precision"),
        ("double precision", "numeric", "numeric"),
        ("date", "timestamp with time zone", "timestamptz"),
        ("numeric", "bigint", "numeric"),
        ("timestamptz", "date", "timestamptz"),
        ("text", "numeric", "text"),
        ("numeric(12, 2)", "double precision", "numeric(12, 2)"),
        ("bigint", "text", "bigint"),
    ],
)
def test_a_type_becomes_wider_and_never_narrower_or_another(written: str, has: str, then: str) -> None:
    before = MODEL.replace("'bigint'", f"'{written}'")
    after = updated(before, Bronze("shop__customers", [PHONE, BronzeColumn("itemCount", has)]))
    assert after == MODEL.replace("'bigint'", f"'{then}'")


def test_what_a_person_wrote_stays_and_what_it_reads_is_not_read_again() -> None:
    own = MODEL.replace(
        "    bronze_rows._id as",
        "    -- the key\n    bronze_rows._id as",
    ).replace(
        "'bigint') }} as item_count\n    -- warehouse: end",
        "'bigint') }} as item_count,\n"
        "    upper({{ warehouse.bronze_value(bronze, \"country\", 'text') }}) as country,\n"
        "    -- warehouse: end\n"
        "    -- left out: 'notes', 'it\\'s'\n"
        "    bronze_rows.city,\n"
        "    {{ warehouse.bronze_array(bronze, 'tags') }} as tags,\n"
        "    {{ warehouse.bronze_value(bronze, ['a', 'b'], 'text') }} as a",
    )
    read = [(path, "text") for path in ("country", "notes", "it's", "tags", "a", "b")]
    assert updated(own, bronze(*read)) == own
    after = updated(own, bronze(*read, ("city", "text")))
    assert new_lines(own, after) == ["{{ warehouse.bronze_value(bronze, 'city', 'text') }} as city_2,"]
    assert (
        after is not None
        and after.replace("    {{ warehouse.bronze_value(bronze, 'city', 'text') }} as city_2,\n", "") == own
    )


def test_paths_that_need_escapes_are_read_back_as_they_are() -> None:
    now = bronze(("it's", "text"), ("both ' and \"", "text"), ("dot\\.in", "text"), ("größe", "text"), ("a]b", "text"))
    after = updated(MODEL, now)
    assert after is not None and after.count("bronze_value") == 7
    assert updated(after, now) == after


def test_the_ends_of_lines_stay() -> None:
    windows = MODEL.replace("\n", "\r\n")
    after = updated(windows, bronze(("tel", "text"), tel="phone"))
    assert after is not None and after.replace("\r\n", "") == after.replace("\r\n", "").replace("\n", "")
    assert after.replace("\r\n", "\n") == updated(MODEL, bronze(("tel", "text"), tel="phone"))


@pytest.mark.parametrize(
    "text",
    [
        MODEL.replace("    -- warehouse: end\n", ""),
        MODEL.replace("-- warehouse: columns", "-- columns"),
        MODEL + MODEL,
        MODEL.replace("    -- warehouse: end\n", "    -- warehouse: end\n    -- warehouse: end\n"),
    ],
)
def test_without_exactly_one_block_nothing_is_made(text: str) -> None:
    assert updated(text, bronze(("tel", "text"))) is None
