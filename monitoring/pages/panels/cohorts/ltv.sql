/*
title: Lifetime value by cohort
question: When is the acquisition cost paid?
definition: Cumulative margin per customer of the cohort, a fixed denominator; the cost is the ad spend of its month per new customer.
order: 20
needs: [gold.rpt_customer_ltv]
as_of: select max(date_day) from gold.rpt_sales_daily where orders > 0
columns:
  cohort: month
  customers: count
  ltv_3: {title: margin after 3 months, format: money}
  ltv_6: {title: after 6, format: money}
  ltv_12: {title: after 12, format: money}
  acquisition_cost: {title: CAC, format: money}
  ltv_to_cac: {title: LTV to CAC, format: ratio, definition: Cumulative margin so far / ad spend of the cohort's month.}
*/
select cohort_month as cohort, max(cohort_size) as customers,
    max(ltv_margin) filter (where month_number = 3) as ltv_3, max(ltv_margin) filter (where month_number = 6) as ltv_6,
    max(ltv_margin) filter (where month_number = 12) as ltv_12, max(cohort_acquisition_cost) as acquisition_cost,
    (array_agg(ltv_to_acquisition_cost order by month_number desc))[1] as ltv_to_cac
from gold.rpt_customer_ltv
group by 1
order by 1 desc
limit 36
