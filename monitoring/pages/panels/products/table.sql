/*
title: Products
question: What sells, what comes back, what is earned with it?
definition: Net revenue less refunds and cost, by the month of the order; months that the period touches count whole.
order: 10
needs: [gold.rpt_product_performance, gold.rpt_sales_daily]
as_of: select max(date_day) from gold.rpt_sales_daily where orders > 0
columns:
  product_name: {title: product}
  category: text
  units: count
  returned: count
  net_revenue: {title: net revenue, format: money}
  margin: money
  margin_rate: {title: margin rate, format: percent}
  refund_rate: {title: refunded, format: percent}
  return_rate: {title: sent back, format: percent}
*/
select product_name, category, sum(units)::bigint as units, sum(returned_units)::bigint as returned, sum(net_revenue) as net_revenue, sum(margin) as margin,
    {{ margin_rate }} as margin_rate, {{ refund_rate }} as refund_rate, {{ return_rate }} as return_rate
from gold.rpt_product_performance
where month_start >= date_trunc('month', %(since)s::date) and month_start < %(until)s::date
group by product_id, product_name, category
order by net_revenue desc
limit 200
