{% test expression_is_true(model, expression, column_name=none) %}
select *
from {{ model }}
where not coalesce({{ column_name or '' }} {{ expression }}, false)
{% endtest %}

{% test unique_combination(model, columns) %}
select {{ columns | join(', ') }}, count(*) as rows_of_this_combination
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}

{#- Versions of a key: the first from before all times, each until the next one begins, the last for good and the current one. -#}
{% test half_open_versions(model, key) %}
select *
from (
    select
        {{ key }},
        valid_from,
        valid_to,
        is_current,
        lag(valid_to) over versions as ended_before,
        lead(valid_from) over versions as next_begins
    from {{ model }}
    window versions as (partition by {{ key }} order by valid_from, valid_to)
) as versions
where valid_from >= valid_to
    or valid_from <> coalesce(ended_before, {{ warehouse.always('before') }})
    or valid_to <> coalesce(next_begins, {{ warehouse.always('after') }})
    or is_current <> (next_begins is null)
{% endtest %}

{#- Nulls pass: whether a value must be there is another test's question. -#}
{% test accepted_range(model, column_name, min_value=none, max_value=none) %}
select *
from {{ model }}
where false
    {% if min_value is not none %}or {{ column_name }} < {{ min_value }}{% endif %}
    {% if max_value is not none %}or {{ column_name }} > {{ max_value }}{% endif %}
{% endtest %}
