/*
title: Net revenue of new and returning customers
question: Who brings the revenue, month by month?
definition: >
  Net of VAT and of all refunds, by the month of the order. New is a customer's first order that counts, returning are the later ones; unknown is
  an order of which nobody knows whose it is.
kind: chart
order: 2
needs: [gold.rpt_sales_daily]
as_of: select max(date_day) from gold.rpt_sales_daily where orders > 0
columns: {month: month, customers: text, net_revenue: {title: net revenue, format: money}, orders: count}
chart:
  mark: {type: bar}
  encoding:
    x: {field: month, type: ordinal, title: null, axis: {labelExpr: "slice(datum.label, 0, 7)", labelAngle: -60}}
    y: {field: net_revenue, type: quantitative, title: net revenue}
    color: {field: customers, type: nominal, title: null, scale: {domain: [new, returning, unknown], range: [$ok, $accent, $none]}}
    tooltip: [{field: month}, {field: customers}, {field: net_revenue, format: ",.2f"}, {field: orders, format: ","}]
*/
select date_trunc('month', date_day)::date as month, customers, sum(part.net_revenue) as net_revenue, sum(part.orders)::bigint as orders
from gold.rpt_sales_daily as days
cross join lateral (
    values ('new', new_net_revenue, new_customers), ('returning', returning_net_revenue, returning_orders),
        ('unknown', net_revenue_restated - new_net_revenue - returning_net_revenue, days.orders - new_customers - returning_orders)
) as part (customers, net_revenue, orders)
where date_day >= %(since)s::date and date_day < %(until)s::date
group by 1, 2
having sum(part.orders) <> 0 or sum(part.net_revenue) <> 0
order by 1, 2
