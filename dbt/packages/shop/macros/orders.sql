{#- The first rule that an order breaks, for which it cannot be counted; null for none. -#}
{% macro order_problem(orders, rates) -%}
    case
        when {{ orders }}.unreadable is not null then 'a number that cannot be read: ' || {{ orders }}.unreadable
        when {{ orders }}.placed_at is null then 'no time of the order'
        when not {{ warehouse.in_calendar(orders ~ '.ordered_on') }} then 'a day that the calendar has not'
        when {{ orders }}.total is null then 'no total'
        when {{ orders }}.total < 0 then 'a negative total'
        when {{ orders }}.subtotal is null then 'no subtotal'
        when {{ orders }}.tax < 0 or {{ orders }}.tax > {{ orders }}.total then 'tax that is not within the total'
        when {{ orders }}.total <> {{ orders }}.subtotal - {{ orders }}.discount + {{ orders }}.shipping
            then 'a total that is not subtotal - discount + shipping'
        when {{ rates }}.rate is null then 'no exchange rate for its currency and day'
    end
{%- endmacro %}

{#- Whether an order can be counted. As a case of its own, as Postgres takes `is null` of an expression to be rare. -#}
{% macro is_countable(orders, rates) -%}
    case when {{ warehouse_shop.order_problem(orders, rates) }} is null then true else false end
{%- endmacro %}

{#- The amount of one refund of an order, given as JSON; null for none, and for a negative one. -#}
{% macro refund_amount(refund) -%}
    {%- set amount = warehouse.cast_extended_json(warehouse.json_field(refund, 'amount'), 'numeric') -%}
    case when {{ amount }} >= 0 then {{ amount }} end
{%- endmacro %}
