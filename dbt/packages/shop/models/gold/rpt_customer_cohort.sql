{#- Every month of a cohort up to the last month with orders, those without a sale too. #}
with cohorts as (

    select cohort_month, count(distinct customer_id)::bigint as cohort_size
    from {{ ref('int_shop__customer_months') }}
    group by 1

),

grid as (

    select
        cohorts.cohort_month,
        cohorts.cohort_size,
        months.period::date as month_start,
        (12 * (extract(year from months.period) - extract(year from cohorts.cohort_month))
        + extract(month from months.period) - extract(month from cohorts.cohort_month))::integer as month_number
    from cohorts
    cross join lateral {{ warehouse.periods(
        'cohorts.cohort_month', '(select max(month_start) from ' ~ ref('int_shop__customer_months') ~ ')', 'month', 'months'
    ) }}

),

sums as (

    select
        cohort_month,
        month_start,
        count(*)::bigint as active_customers,
        sum(orders)::bigint as orders,
        sum(net_revenue) as net_revenue,
        sum(margin) as margin
    from {{ ref('int_shop__customer_months') }}
    group by 1, 2

),

figures as (

    select
        grid.cohort_month,
        grid.month_number,
        grid.month_start,
        grid.cohort_size,
        coalesce(sums.active_customers, 0) as active_customers,
        coalesce(sums.orders, 0) as orders,
        coalesce(sums.net_revenue, 0) as net_revenue,
        coalesce(sums.margin, 0) as margin
    from grid
    left join sums on sums.cohort_month = grid.cohort_month and sums.month_start = grid.month_start

)

select
    *,
    {{ warehouse_shop.metric('retention', 'figures') }} as retention
from figures
