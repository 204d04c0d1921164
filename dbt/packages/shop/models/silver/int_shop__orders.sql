{#- Orders that can be counted, with who ordered and what one unit of their money is worth. #}
with refunds as (

    select order_id, sum(amount) as refunded
    from {{ ref('int_shop__refunds') }}
    where amount is not null
    group by 1

)

select
    orders.*,
    case
        when orders.customer_id is not null then orders.customer_id
        when emails.customer_id is not null then emails.customer_id
        when orders.email_hash is not null then 'guest:' || orders.email_hash
        else 'unknown'
    end as buyer_id,
    orders.customer_id is null as is_guest,
    coalesce(orders.status in ({{ warehouse.literals(warehouse.setting('cancelled_statuses')) }}), false) as is_cancelled,
    rates.rate as exchange_rate,
    coalesce(refunds.refunded, 0) as refunded
from {{ ref('stg_shop__orders') }} as orders
left join {{ ref('int_shop__customer_emails') }} as emails on emails.email_hash = orders.email_hash
left join {{ ref('fct_exchange_rate') }} as rates
    on rates.currency = orders.currency and rates.date_day = orders.ordered_on
left join refunds on refunds.order_id = orders.order_id
where not exists (
    select from {{ ref('int_shop__order_problems') }} as problems where problems.order_id = orders.order_id
)
