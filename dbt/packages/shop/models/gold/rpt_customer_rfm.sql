with observed as (

    select max(ordered_on) as observation_end from {{ ref('fct_order') }}

),

purchases as (

    select fct_order.customer_id, fct_order.ordered_on, fct_order.net_revenue
    from {{ ref('fct_order') }} as fct_order
    where fct_order.customer_id <> 'unknown' and fct_order.status <> 'cancelled'

),

summary as (

    {{ warehouse.repeat_purchase_summary('purchases', 'customer_id', 'ordered_on', 'net_revenue',
                               '(select observation_end from observed)') }}

),

scored as (

    select
        *,
        {#- Ties are broken by the customer, so that the same data always gives the same scores. #}
        ntile(5) over (order by t - recency desc, customer) as recency_score,
        ntile(5) over (order by frequency, customer) as frequency_score,
        ntile(5) over (order by total_amount, customer) as monetary_score
    from summary

)

select
    customer as customer_id,
    first_purchase_on,
    last_purchase_on,
    t - recency as days_since_last_purchase,
    frequency + 1 as purchase_days,
    total_amount as net_revenue,
    frequency,
    recency,
    t,
    monetary_value,
    recency_score,
    frequency_score,
    monetary_score,
    case
        when recency_score >= 4 and frequency_score >= 4 then 'Champions'
        when frequency_score >= 4 then 'Loyal'
        when recency_score >= 4 then 'Recent'
        when recency_score <= 2 and monetary_score >= 4 then 'At risk'
        when recency_score <= 2 then 'Lost'
        else 'Regular'
    end as segment
from scored
