-- What was paid less what was paid back is the order's total less its refunds. Orders that are not paid yet have no payment.
{{ config(severity='warn') }}
select orders.order_id, orders.total - orders.refunded as by_order, sum(payments.amount) as by_payments
from {{ ref('fct_order') }} as orders
inner join {{ ref('fct_payment') }} as payments on payments.order_id = orders.order_id
group by 1, 2
having sum(payments.amount) <> orders.total - orders.refunded
