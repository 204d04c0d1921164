/*
title: Efficiency by month
question: What does a new customer cost, and when is it paid back?
definition: Ratios are made from sums, never from means of ratios. Payback is the first month in which a cohort's margin covers its cost.
order: 30
needs: [gold.rpt_marketing_efficiency]
as_of: select max(date_day) from gold.rpt_sales_daily where orders > 0
columns:
  month_start: {title: month, format: month}
  spend: money
  net_revenue: {title: net revenue, format: money, definition: Refunds count in the month of their order.}
  marketing_efficiency_ratio: {title: MER, format: ratio}
  new_customers: {title: new customers, format: count}
  blended_acquisition_cost: {title: CAC, format: money}
  paid_acquisition_cost: {title: paid CAC, format: money}
  paid_return_on_ad_spend: {title: paid ROAS, format: ratio}
  payback_months: {title: payback in months, format: count, definition: 0 is the month of the first order itself.}
*/
select month_start, {{ spend }} as spend, sum(net_revenue) as net_revenue,
    {{ marketing_efficiency_ratio }} as marketing_efficiency_ratio, sum(new_customers) as new_customers,
    {{ blended_acquisition_cost }} as blended_acquisition_cost, {{ paid_acquisition_cost }} as paid_acquisition_cost,
    {{ paid_return_on_ad_spend }} as paid_return_on_ad_spend, max(payback_months) as payback_months
from gold.rpt_marketing_efficiency
group by 1
order by month_start desc
limit 36
