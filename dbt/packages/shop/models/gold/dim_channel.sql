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
        end as channel_group,
        {#- Anybody may write a link whose source or medium holds what separates them in the key. #}
        row_number() over (
            partition by {{ warehouse.channel_id('source', 'medium', 'campaign_hint') }} order by source, medium, campaign_hint
        ) as place
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
where place = 1
