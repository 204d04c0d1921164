/*
title: The period against the one before
question: How are we doing?
definition: Amounts are net of VAT in the reporting currency; the change is against as many days before.
kind: figures
order: 10
needs: [gold.rpt_sales_daily, gold.rpt_channel_performance_daily]
as_of: select max(date_day) from gold.rpt_sales_daily where orders > 0
columns:
  net_revenue: {title: Net revenue, format: money}
  orders: {title: Orders, format: count}
  average_order_value: {title: Average order, format: money}
  new_customers: {title: New customers, format: count}
  spend: {title: Ad spend, format: money, better: neither}
  mer: {title: MER, format: ratio}
  cac: {title: CAC, format: money, better: less}
*/
with days as (
    select date_day >= %(since)s::date as in_period, net_revenue, revenue, orders, new_customers, 0 as spend
    from gold.rpt_sales_daily
    where date_day >= %(since_before)s::date and date_day < %(until)s::date
    union all
    select date_day >= %(since)s::date, 0, 0, 0, 0, spend
    from gold.rpt_channel_performance_daily
    where date_day >= %(since_before)s::date and date_day < %(until)s::date
),

sums as (
    select in_period, {{ net_revenue }} as net_revenue, {{ orders }} as orders,
        {{ average_order_value }} as average_order_value, {{ new_customers }} as new_customers,
        {{ spend }} as spend, {{ return_on_ad_spend }} as mer, {{ acquisition_cost }} as cac
    from days
    group by in_period
)

select now.net_revenue, before.net_revenue as net_revenue_before, now.orders, before.orders as orders_before,
    now.average_order_value, before.average_order_value as average_order_value_before,
    now.new_customers, before.new_customers as new_customers_before, now.spend, before.spend as spend_before,
    now.mer, before.mer as mer_before, now.cac, before.cac as cac_before
from sums as now
left join sums as before on not before.in_period
where now.in_period
