with analytics as (

    select *, {{ warehouse.campaign_hint('campaign') }} as campaign_hint from {{ ref('stg_ga4__sessions') }}

)

select
    analytics.source_key as web_analytics_id,
    analytics.property_id,
    analytics.started_on,
    days.status = 'provisional' as is_provisional,
    analytics.source,
    analytics.medium,
    analytics.campaign,
    {{ warehouse.channel_id('analytics.source', 'analytics.medium', 'analytics.campaign_hint') }} as channel_id,
    analytics.ga4_channel_group,
    analytics.sessions,
    analytics.engaged_sessions,
    analytics.new_users,
    analytics.key_events,
    analytics.transactions,
    analytics.currency,
    analytics.purchase_revenue as original_purchase_revenue,
    {{ warehouse.to_reporting('analytics.purchase_revenue', 'rates.rate', 6) }} as purchase_revenue,
    analytics.is_other_row,
    analytics.is_thresholded,
    analytics.is_sampled
from analytics
left join {{ ref('fct_exchange_rate') }} as rates
    on rates.currency = analytics.currency and rates.date_day = analytics.started_on
left join ops.account_days as days
    on days.source = 'ga4' and days.table_name = 'sessions'
    and days.account = analytics.property_id and days.day = analytics.started_on
