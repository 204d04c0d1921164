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
  net_revenue: {title: net revenue, format: money}
  marketing_efficiency_ratio: {title: MER, format: ratio, definition: Net revenue / ad spend.}
  new_customers: {title: new customers, format: count}
  blended_acquisition_cost: {title: CAC, format: money, definition: Ad spend / all new customers.}
  paid_acquisition_cost: {title: paid CAC, format: money, definition: Ad spend / new customers of paid channels.}
  paid_return_on_ad_spend: {title: paid ROAS, format: ratio, definition: Net revenue of paid channels / ad spend.}
  payback_months: {title: payback in months, format: count, definition: 0 is the month of the first order itself.}
*/
select month_start, spend, net_revenue, marketing_efficiency_ratio, new_customers, blended_acquisition_cost,
    paid_acquisition_cost, paid_return_on_ad_spend, payback_months
from gold.rpt_marketing_efficiency
order by month_start desc
limit 36
