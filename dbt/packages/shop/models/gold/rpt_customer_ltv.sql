with costs as (

    select month_start as cohort_month, sum(spend) as spend
    from {{ ref('rpt_channel_performance_monthly') }}
    group by 1

),

running as (

    select
        cohort_month,
        month_number,
        cohort_size,
        sum(net_revenue) over months as cumulative_net_revenue,
        sum(margin) over months as cumulative_margin
    from {{ ref('rpt_customer_cohort') }}
    window months as (partition by cohort_month order by month_number)

)

select
    running.cohort_month,
    running.month_number,
    running.cohort_size,
    running.cumulative_net_revenue,
    running.cumulative_margin,
    {{ warehouse.ratio('running.cumulative_net_revenue', 'running.cohort_size', 2) }} as ltv_revenue,
    {{ warehouse.ratio('running.cumulative_margin', 'running.cohort_size', 2) }} as ltv_margin,
    {{ warehouse.ratio('costs.spend', 'running.cohort_size', 2) }} as acquisition_cost,
    {{ warehouse.ratio('running.cumulative_margin', 'costs.spend') }} as ltv_to_acquisition_cost
from running
left join costs on costs.cohort_month = running.cohort_month
