with measures as (

    select
        (started_at at time zone 'UTC')::date as date_day,
        channel_id,
        count(*) as sessions,
        0 as orders, 0 as new_customers, 0 as revenue, 0 as net_revenue,
        0 as impressions, 0 as clicks, 0 as spend, 0 as claimed_conversions
    from {{ ref('int_shop__sessions') }}
    group by 1, 2

    union all

    select
        ordered_on,
        channel_id,
        0,
        count(*), count(*) filter (where customer_order_number = 1), sum(total), sum(net_revenue),
        0, 0, 0, 0
    from {{ ref('fct_order') }}
    group by 1, 2

    union all

    select
        spent_on,
        channel_id,
        0,
        0, 0, 0, 0,
        sum(impressions), sum(clicks), sum(spend), sum(conversions)
    from {{ ref('fct_ad_spend_daily') }}
    group by 1, 2

),

daily as (

    select
        date_day,
        channel_id,
        sum(sessions)::bigint as sessions,
        sum(orders)::bigint as orders,
        sum(new_customers)::bigint as new_customers,
        sum(revenue) as revenue,
        sum(net_revenue) as net_revenue,
        sum(impressions)::bigint as impressions,
        sum(clicks)::bigint as clicks,
        sum(spend) as spend,
        sum(claimed_conversions) as claimed_conversions
    from measures
    group by 1, 2

)

select
    daily.date_day,
    daily.channel_id,
    channels.channel_group,
    daily.sessions,
    daily.orders,
    daily.new_customers,
    daily.revenue,
    daily.net_revenue,
    daily.impressions,
    daily.clicks,
    daily.spend,
    daily.claimed_conversions,
    {{ warehouse.ratio('daily.orders', 'daily.sessions') }} as conversion_rate,
    {{ warehouse.ratio('daily.clicks', 'daily.impressions') }} as click_rate,
    {{ warehouse.ratio('daily.spend', 'daily.clicks') }} as cost_per_click,
    {{ warehouse.ratio('daily.spend', 'daily.new_customers') }} as acquisition_cost,
    {{ warehouse.ratio('daily.net_revenue', 'daily.spend') }} as return_on_ad_spend
from daily
inner join {{ ref('dim_channel') }} as channels on channels.channel_id = daily.channel_id
