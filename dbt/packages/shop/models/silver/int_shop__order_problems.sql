{#- The first reason for which an order cannot be counted; orders without one are not here. #}
with checked as (

    select
        orders.order_id,
        orders.order_number,
        orders.loaded_at,
        {{ warehouse_shop.order_problem('orders', 'rates') }} as reason
    from {{ ref('stg_shop__orders') }} as orders
    left join {{ ref('fct_exchange_rate') }} as rates
        on rates.currency = orders.currency and rates.date_day = orders.ordered_on

)

select order_id, order_number, reason, loaded_at
from checked
where reason is not null
