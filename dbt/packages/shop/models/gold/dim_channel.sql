with pairs as (

    select source, medium from {{ ref('int_shop__sessions') }}
    union
    select source, medium from {{ ref('int_ads__spend_daily') }}
    union
    {#- Orders whose visit is not known. #}
    select '(unattributed)', '(none)'

)

select
    {{ warehouse.channel_id('source', 'medium') }} as channel_id,
    source,
    medium,
    {{ warehouse.channel_group('source', 'medium') }} as channel_group,
    {{ warehouse.channel_group('source', 'medium') }} like 'Paid%' as is_paid
from pairs
