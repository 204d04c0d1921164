/*
title: Segments
question: Whom to write to?
definition: Customers by recency, frequency and monetary value of their orders; quintiles are over all who ever ordered.
order: 10
needs: [gold.rpt_rfm]
as_of: select max(last_purchase_on) from gold.rpt_rfm
columns:
  segment: text
  customers: count
  share: percent
  net_revenue: {title: net revenue, format: money}
  mean: {title: net revenue each, format: money}
  since_last: {title: days since the last order, format: count}
*/
select segment, count(*) as customers, count(*)::numeric / sum(count(*)) over () as share,
    sum(net_revenue) as net_revenue, round(avg(net_revenue), 2) as mean,
    round(avg(days_since_last_purchase)) as since_last
from gold.rpt_rfm
group by segment
order by net_revenue desc
