{#-
  One row per customer with the figures of "buy till you die" models, by the conventions of their literature: purchases of
  one day count as one, `frequency` counts the days after the first, `recency` is the days from the first to the last, `t`
  the days from the first to the end of the observation, `monetary_value` the mean of the days after the first.
  `observation_end` is a date expression; later purchases are left out.
-#}
{% macro repeat_purchase_summary(relation, customer, day, amount, observation_end) %}
    with purchase_days as (

        select
            {{ customer }} as customer,
            {{ day }} as day,
            sum({{ amount }}) as amount,
            row_number() over (partition by {{ customer }} order by {{ day }}) as day_number
        from {{ relation }}
        where {{ day }} <= {{ observation_end }}
        group by 1, 2

    )

    select
        customer,
        min(day) as first_purchase_on,
        max(day) as last_purchase_on,
        (count(*) - 1)::integer as frequency,
        (max(day) - min(day))::integer as recency,
        ({{ observation_end }} - min(day))::integer as t,
        coalesce(avg(amount) filter (where day_number > 1), 0) as monetary_value,
        sum(amount) as total_amount
    from purchase_days
    group by 1
{%- endmacro %}

{#- 1 to 5 by the share of rows with a smaller value, so that rows with equal values score the same. -#}
{% macro quintile(expression) -%}
    {#- Whole numbers, as a fifth is no double. #}
    (1 + coalesce(least(5 * (rank() over (order by {{ expression }}) - 1) / nullif(count(*) over () - 1, 0), 4), 0))::integer
{%- endmacro %}
