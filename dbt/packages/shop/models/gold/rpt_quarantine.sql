{#- What is left out of gold, and why; nothing else is ever left out. #}
select
    'orders' as entity,
    order_id as entity_id,
    order_number as label,
    reason,
    loaded_at
from {{ ref('int_shop__order_problems') }}

union all

select
    'order items',
    order_item_id,
    order_id,
    coalesce('a number that cannot be read: ' || unreadable, 'no quantity, unit price or amount'),
    null
from {{ ref('stg_shop__orders__items') }}
where quantity is null or unit_price is null or coalesce(total, quantity * unit_price - discount) is null
    or unreadable is not null

union all

select 'refunds', refund_id, order_id, 'no amount, or a negative one', null
from {{ ref('int_shop__refunds') }}
where amount is null

union all

select
    'payments', payment_id, order_id, coalesce('a number that cannot be read: ' || unreadable, 'no amount'), null
from {{ ref('stg_shop__orders__payments') }}
where amount is null

union all

select
    'events',
    event_id,
    event_type,
    case
        when session_id is null then 'no session'
        when happened_at is null then 'no time'
        else 'a day that the calendar has not'
    end,
    loaded_at
from {{ ref('stg_shop__events') }}
where session_id is null or not {{ warehouse.in_calendar(warehouse.reporting_date('happened_at')) }}

union all

{#- Products stay in gold, and so do rows of spend that tell what was spent; only what cannot be read is missing there. #}
select 'products', product_id, product_name, 'a number that cannot be read: ' || unreadable, null
from {{ ref('stg_shop__products') }}
where unreadable is not null

union all

select 'ad spend', ad_spend_id, campaign_name, 'a number that cannot be read: ' || unreadable, loaded_at
from {{ ref('int_ads__spend') }}
where unreadable is not null

union all

select 'ad spend', ad_spend_id, campaign_name, 'no day, or one that the calendar has not', loaded_at
from {{ ref('int_ads__spend') }}
where not {{ warehouse.in_calendar('spent_on') }}

union all

{#- Here only its amount in the reporting currency is missing. #}
select 'ad spend', ad_spend_id, campaign_name, 'no exchange rate for its currency and day', _loaded_at
from {{ ref('fct_ad_spend_daily') }}
where exchange_rate is null
