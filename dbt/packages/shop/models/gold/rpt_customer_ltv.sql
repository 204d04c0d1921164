with costs as (

    select month_start as cohort_month, sum(spend) as spend
    from {{ ref('rpt_channel_performance_monthly') }}
    group by 1

),

running as (

    select
        cohorts.cohort_month,
        cohorts.month_number,
        cohorts.cohort_size,
        costs.spend,
        sum(cohorts.net_revenue) over months as cumulative_net_revenue,
        sum(cohorts.margin) over months as cumulative_margin
    from {{ ref('rpt_customer_cohort') }} as cohorts
    left join costs on costs.cohort_month = cohorts.cohort_month
    window months as (partition by cohorts.cohort_month order by cohorts.month_number)

)

select
    cohort_month,
    month_number,
    cohort_size,
    spend,
    cumulative_net_revenue,
    cumulative_margin,
    {% for name in ['ltv_revenue', 'ltv_margin', 'cohort_acquisition_cost', 'ltv_to_acquisition_cost'] -%}
    {{ warehouse_shop.metric(name, 'running') }} as {{ name }}{% if not loop.last %},{% endif %}
    {% endfor %}
from running
