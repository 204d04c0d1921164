{#- The sums that channels are compared by, and the ratios made of them: of sums, never means of ratios. -#}
{% macro channel_sums() %}
    sum(sessions)::bigint as sessions,
    sum(orders) as orders,
    sum(new_customers) as new_customers,
    sum(revenue) as revenue,
    sum(net_revenue) as net_revenue,
    coalesce(sum(impressions), 0)::bigint as impressions,
    coalesce(sum(clicks), 0)::bigint as clicks,
    coalesce(sum(spend), 0) as spend,
    coalesce(sum(claimed_conversions), 0) as claimed_conversions,
    coalesce(sum(claimed_revenue), 0) as claimed_revenue
{% endmacro %}

{% macro channel_figures(relation) %}
    {% for name in ['sessions', 'orders', 'new_customers', 'revenue', 'net_revenue', 'impressions', 'clicks', 'spend',
                    'claimed_conversions', 'claimed_revenue'] -%}
    {{ relation }}.{{ name }},
    {% endfor -%}
    {% for name in ['conversion_rate', 'click_rate', 'cost_per_click', 'acquisition_cost', 'return_on_ad_spend',
                    'claimed_return_on_ad_spend'] -%}
    {{ warehouse_shop.metric(name, relation) }} as {{ name }}{% if not loop.last %},{% endif %}
    {% endfor %}
{% endmacro %}

{#-
  Whose visits count, so that none counts twice: `events` (the shop's own) or `ga4`. Where the setting says nothing, the
  events as soon as bronze has them, for they know each visit.
-#}
{% macro sessions_from() %}
    {%- set has_events = warehouse.bronze_table('shop', 'events').columns -%}
    {%- set has_analytics = warehouse.bronze_table('ga4', 'sessions').columns -%}
    {{ return(warehouse.setting('sessions_from') or ('ga4' if has_analytics and not has_events else 'events')) }}
{% endmacro %}

{#- The daily report by `week` or `month`: sums of its sums. -#}
{% macro channel_performance(period) %}
with sums as (

    select
        date_trunc('{{ period }}', date_day)::date as {{ period }}_start,
        channel_id,
        channel_group,
        is_paid,
        {{ warehouse_shop.channel_sums() }}
    from {{ ref('rpt_channel_performance_daily') }}
    group by 1, 2, 3, 4

)

select
    {{ period }}_start,
    channel_id,
    channel_group,
    is_paid,
    {{ warehouse_shop.channel_figures('sums') }}
from sums
{% endmacro %}
