{#-
  Orders that can be counted, with who ordered and what one unit of their money is worth. An order needs no other order's row,
  and there is no `with`, which Postgres would make whole: so that few orders are found without reading all.
-#}
select
    orders.*,
    case
        when orders.customer_id is not null then orders.customer_id
        when emails.customer_id is not null then emails.customer_id
        when orders.email_hash is not null then 'guest:' || orders.email_hash
        else 'unknown'
    end as buyer_id,
    orders.customer_id is null as is_guest,
    not orders.is_test and not orders.is_cancelled as is_counted,
    rates.rate as exchange_rate,
    coalesce((
        select sum({{ warehouse_shop.refund_amount('refund.value') }})
        from {{ warehouse.json_elements('orders.refunds', 'refund') }}
    ), 0) as refunded
from (
    select
        *,
        coalesce(status in ({{ warehouse.literals(warehouse.setting('cancelled_statuses')) }}), false) as is_cancelled
    from {{ ref('stg_shop__orders') }}
) as orders
left join {{ ref('int_shop__customer_emails') }} as emails on emails.email_hash = orders.email_hash
left join {{ ref('fct_exchange_rate') }} as rates
    on rates.currency = orders.currency and rates.date_day = orders.ordered_on
where {{ warehouse_shop.is_countable('orders', 'rates') }}
