with sums as (

    select
        month_start,
        sum(spend) as spend,
        sum(net_revenue) as net_revenue,
        sum(new_customers) as new_customers,
        coalesce(sum(new_customers) filter (where is_paid), 0) as paid_new_customers,
        coalesce(sum(net_revenue) filter (where is_paid), 0) as paid_net_revenue
    from {{ ref('rpt_channel_performance_monthly') }}
    group by 1

),

{#- The first month in which what the cohort has brought covers what it has cost; rounded ratios would be early. #}
payback as (

    select cohort_month, min(month_number) as payback_months
    from {{ ref('rpt_customer_ltv') }}
    where spend > 0 and cumulative_margin >= spend
    group by 1

)

select
    sums.month_start,
    sums.spend,
    sums.net_revenue,
    sums.new_customers,
    sums.paid_new_customers,
    sums.paid_net_revenue,
    {% for name in ['marketing_efficiency_ratio', 'blended_acquisition_cost', 'paid_acquisition_cost',
                    'paid_return_on_ad_spend'] -%}
    {{ warehouse_shop.metric(name, 'sums') }} as {{ name }},
    {% endfor -%}
    payback.payback_months
from sums
left join payback on payback.cohort_month = sums.month_start
