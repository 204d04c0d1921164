with pairs as (

    select source, medium, campaign_hint from {{ ref('fct_session') }}
    union
    select source, medium, campaign_hint from {{ ref('int_ads__spend') }}
    union
    select source, medium, {{ warehouse.campaign_hint('campaign') }} from {{ ref('stg_ga4__sessions') }}
    union
    {#- Orders of which no visit is known. #}
    select '(unattributed)', '(none)', null

),

grouped as (

    select
        {{ warehouse.channel_id('source', 'medium', 'campaign_hint') }} as channel_id,
        source,
        medium,
        campaign_hint,
        case
            when source = '(unattributed)' then 'Unattributed'
            else {{ warehouse.channel_group('source', 'medium', 'campaign_hint') }}
        end as channel_group
    from pairs

)

select
    channel_id,
    source,
    medium,
    campaign_hint,
    channel_group,
    {{ warehouse.is_paid_group('channel_group') }} as is_paid
from grouped
