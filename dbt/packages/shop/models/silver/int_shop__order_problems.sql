{#- The first reason for which an order cannot be counted; orders without one are not here. #}
with checked as (

    select
        orders.order_id,
        orders.order_number,
        orders.loaded_at,
        case
            when orders.unreadable is not null then 'a number that cannot be read: ' || orders.unreadable
            when orders.placed_at is null then 'no time of the order'
            when orders.total is null then 'no total'
            when orders.total < 0 then 'a negative total'
            when orders.subtotal is null then 'no subtotal'
            when orders.tax < 0 or orders.tax > orders.total then 'tax that is not within the total'
            when orders.total <> orders.subtotal - orders.discount + orders.shipping
                then 'a total that is not subtotal - discount + shipping'
            when rates.rate is null then 'no exchange rate for its currency and day'
        end as reason
    from {{ ref('stg_shop__orders') }} as orders
    left join {{ ref('fct_exchange_rate') }} as rates
        on rates.currency = orders.currency and rates.date_day = orders.ordered_on

)

select order_id, order_number, reason, loaded_at
from checked
where reason is not null
