with sums as (

    select
        date_trunc('month', date_day)::date as month_start,
        channel_id,
        channel_group,
        is_paid,
        {{ warehouse_shop.channel_sums() }}
    from {{ ref('rpt_channel_performance_daily') }}
    group by 1, 2, 3, 4

)

select
    month_start,
    channel_id,
    channel_group,
    is_paid,
    {{ warehouse_shop.channel_figures('sums') }}
from sums
