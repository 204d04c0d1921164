/*
title: Net revenue by channel and model
question: Who really earned it?
definition: The same orders, shared out by each model; every column adds up to the same sum.
kind: chart
order: 10
needs: [gold.fct_attribution, gold.dim_channel]
as_of: select max(ordered_on) from gold.fct_attribution
columns: {channel_group: {title: channel}, attribution_model: {title: model}, net_revenue: money, orders: number}
chart:
  mark: {type: bar}
  height: 320
  encoding:
    y: {field: channel_group, type: nominal, title: null, sort: "-x"}
    yOffset: {field: attribution_model}
    x: {field: net_revenue, type: quantitative, title: net revenue, axis: {tickCount: 6}}
    color: {field: attribution_model, type: nominal, title: null}
    tooltip: [{field: channel_group}, {field: attribution_model}, {field: net_revenue, format: ",.2f"}]
*/
select coalesce(channels.channel_group, 'Unattributed') as channel_group, replace(a.attribution_model, '_', ' ') as attribution_model,
    sum(a.net_revenue) as net_revenue, sum(a.weight) as orders
from gold.fct_attribution as a
left join gold.dim_channel as channels on channels.channel_id = a.channel_id
where a.ordered_on >= %(since)s::date and a.ordered_on < %(until)s::date
    and (%(channel)s::text is null or channels.channel_group = %(channel)s)
group by 1, 2
order by 1, 2
