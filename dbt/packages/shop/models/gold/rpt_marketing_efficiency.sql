with spend as (

    select
        month_start,
        sum(spend) as spend,
        sum(net_revenue) as net_revenue,
        sum(new_customers) as new_customers,
        sum(new_customers) filter (where is_paid) as paid_new_customers,
        sum(net_revenue) filter (where is_paid) as paid_net_revenue
    from {{ ref('rpt_channel_performance_monthly') }}
    group by 1

),

{#- The first month in which what a customer has brought covers what one has cost. #}
payback as (

    select cohort_month, min(month_number) as payback_months
    from {{ ref('rpt_customer_ltv') }}
    where ltv_to_acquisition_cost >= 1
    group by 1

)

select
    spend.month_start,
    spend.spend,
    spend.net_revenue,
    spend.new_customers,
    coalesce(spend.paid_new_customers, 0) as paid_new_customers,
    {{ warehouse.ratio('spend.net_revenue', 'spend.spend') }} as marketing_efficiency_ratio,
    {{ warehouse.ratio('spend.spend', 'spend.new_customers', 2) }} as blended_acquisition_cost,
    {{ warehouse.ratio('spend.spend', 'spend.paid_new_customers', 2) }} as paid_acquisition_cost,
    {{ warehouse.ratio('spend.paid_net_revenue', 'spend.spend') }} as paid_return_on_ad_spend,
    payback.payback_months
from spend
left join payback on payback.cohort_month = spend.month_start
