{{ config(indexes=[{'columns': ['date_day']}]) }}
-- depends_on: {{ ref('fct_session') }}, {{ ref('fct_web_analytics_daily') }}
{% set from_analytics = warehouse_shop.sessions_from() == 'ga4' %}
with measures as (

    select
        started_on as date_day,
        channel_id,
        {{ 'sum(sessions)' if from_analytics else 'count(*)' }} as sessions,
        0::numeric as orders, 0::numeric as new_customers, 0::numeric as revenue, 0::numeric as net_revenue,
        0::bigint as impressions, 0::bigint as clicks, 0::numeric as spend, 0::numeric as claimed_conversions,
        0::numeric as claimed_revenue
    from {{ ref('fct_web_analytics_daily' if from_analytics else 'fct_session') }}
    {{ '' if from_analytics else 'where not is_bot' }}
    group by 1, 2

    union all

    select
        ordered_on,
        channel_id,
        0,
        sum(weight), sum(new_customers), sum(revenue), sum(net_revenue),
        0, 0, 0, 0, 0
    from {{ ref('fct_attribution') }}
    where attribution_model = '{{ warehouse.setting('attribution_model') }}'
    group by 1, 2

    union all

    select
        spent_on,
        channel_id,
        0,
        0, 0, 0, 0,
        sum(impressions), sum(clicks), sum(spend), sum(conversions), sum(conversions_value)
    from {{ ref('fct_ad_spend_daily') }}
    group by 1, 2

),

daily as (

    select date_day, channel_id, {{ warehouse_shop.channel_sums() }}
    from measures
    group by 1, 2

)

select
    daily.date_day,
    daily.channel_id,
    channels.channel_group,
    channels.is_paid,
    {{ warehouse_shop.channel_figures('daily') }}
from daily
inner join {{ ref('dim_channel') }} as channels on channels.channel_id = daily.channel_id
