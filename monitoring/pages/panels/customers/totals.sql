/*
title: New and returning customers
question: Do we live of new customers or of those who come back?
definition: Orders that count and their net revenue by order day; the change is against as many days before.
kind: figures
order: 1
needs: [gold.rpt_sales_daily]
as_of: select max(date_day) from gold.rpt_sales_daily where orders > 0
columns:
  new_customers: {title: New customers, format: count}
  returning_orders: {title: Returning orders, format: count}
  returning_share: {title: Returning share, format: percent}
  new_net_revenue: {title: From new, format: money, definition: Net revenue of first orders.}
  returning_net_revenue: {title: From returning, format: money, definition: Net revenue of later orders.}
*/
with sums as (
    select date_day >= %(since)s::date as in_period, {{ new_customers }} as new_customers,
        {{ returning_orders }} as returning_orders, {{ returning_share }} as returning_share,
        sum(new_net_revenue) as new_net_revenue, sum(returning_net_revenue) as returning_net_revenue
    from gold.rpt_sales_daily
    where date_day >= %(since_before)s::date and date_day < %(until)s::date
    group by 1
)

select now.new_customers, before.new_customers as new_customers_before, now.returning_orders,
    before.returning_orders as returning_orders_before, now.returning_share, before.returning_share as returning_share_before,
    now.new_net_revenue, before.new_net_revenue as new_net_revenue_before, now.returning_net_revenue,
    before.returning_net_revenue as returning_net_revenue_before
from sums as now
left join sums as before on not before.in_period
where now.in_period
