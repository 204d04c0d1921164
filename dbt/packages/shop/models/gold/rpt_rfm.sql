with observed as (

    select max(ordered_on) as observation_end from {{ ref('fct_order') }} where is_counted

),

purchases as (

    select customer_id, ordered_on, net_revenue
    from {{ ref('fct_order') }}
    where is_counted and customer_id <> 'unknown'

),

summary as (

    {{ warehouse.repeat_purchase_summary('purchases', 'customer_id', 'ordered_on', 'net_revenue',
                                         '(select observation_end from observed)') }}

),

{#- Equal figures get equal scores: a fifth of the way up the ranking of distinct positions, never broken by an id. #}
scored as (

    select
        *,
        {{ warehouse.quintile('recency - t') }} as recency_score,
        {{ warehouse.quintile('frequency') }} as frequency_score,
        {{ warehouse.quintile('total_amount') }} as monetary_score
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
        {#- Who bought once is new or gone, however large the others' share of one-time buyers is. #}
        when frequency = 0 and recency_score >= 4 then 'New'
        when frequency = 0 and recency_score <= 2 then 'Lost'
        when frequency = 0 then 'One-time'
        when recency_score >= 4 and frequency_score >= 4 then 'Champions'
        when frequency_score >= 4 and recency_score >= 3 then 'Loyal'
        when recency_score >= 4 then 'Recent'
        when recency_score <= 2 then 'At risk'
        else 'Regular'
    end as segment
from scored
