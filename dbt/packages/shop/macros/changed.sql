{#-
  Which keys of the large facts may have other rows now than a fact holds: found by comparing what each row was made of with
  what there is, so that it holds whatever was loaded, rewound or restored in between.
-#}

{#- Orders that are new, gone or loaded again, whose guest has an account now, whose rate was published since. -#}
{% macro changed_orders() %}
    select coalesce(orders.order_id, made.order_id) as order_id
    from {{ ref('stg_shop__orders') }} as orders
    full join {{ this }} as made on made.order_id = orders.order_id
    where orders.order_id is null or made.order_id is null
        or made._loaded_at is distinct from orders.loaded_at
    union all
    select made.order_id
    from {{ this }} as made
    left join {{ ref('int_shop__customer_emails') }} as emails on emails.email_hash = made._email_hash
    where made.is_guest
        and made.customer_id <> coalesce(emails.customer_id, 'guest:' || made._email_hash, 'unknown')
    union all
    select made.order_id
    from {{ this }} as made
    left join {{ ref('fct_exchange_rate') }} as rates
        on rates.currency = made.currency and rates.date_day = made.ordered_on
    where made.currency <> '{{ warehouse.setting('reporting_currency') }}'
        and made.exchange_rate is distinct from rates.rate
{% endmacro %}

{#- The other orders of a buyer whose orders may be numbered otherwise now. -#}
{% macro renumbered_orders() %}
    with renumbered as (

        select made.customer_id as before, orders.buyer_id as after
        from (select * from {{ this }} where {{ warehouse.is_changed('order_id') }}) as made
        full join (select * from {{ ref('int_shop__orders') }} where {{ warehouse.is_changed('order_id') }}) as orders
            on orders.order_id = made.order_id
        where (made.customer_id, made.placed_at, made.is_counted)
            is distinct from (orders.buyer_id, orders.placed_at, orders.is_counted)

    )

    select made.order_id
    from {{ this }} as made
    where made.customer_id <> 'unknown'
        and made.customer_id in (select before from renumbered union select after from renumbered)
{% endmacro %}

{#-
  Orders whose row in fct_order is another than the one that a fact's rows were made of. `only`: those that have rows at all.
  Where this run made some of its orders again, these are taken as they are, and the others compared with the table that
  readers see: of the view of both Postgres knows no statistics, and would hash the larger side, on disk.
-#}
{% macro changed_with_order(only='true') %}
    {%- set orders = warehouse.made_again(ref('fct_order')) %}
    select coalesce(orders.order_id, made.order_id) as order_id
    from (select order_id, _built_at from {{ orders.live }} where {{ only }}) as orders
    full join {{ this }} as made on made.order_id = orders.order_id and made._order_built_at = orders._built_at
    where made.order_id is null or orders.order_id is null
    {%- if orders.changed %}
    union all
    select order_id from {{ orders.changed }}
    {%- endif %}
{% endmacro %}

{#- Besides: orders with an item that cost something else than the history of the products says now. -#}
{% macro changed_items() %}
    {{ warehouse_shop.changed_with_order() }}
    union all
    select made.order_id
    from {{ this }} as made
    left join {{ ref('dim_product') }} as products
        on products.product_id = made.product_id
        and made.placed_at >= products.valid_from and made.placed_at < products.valid_to
    left join {{ ref('fct_exchange_rate') }} as rates
        on rates.currency = products.currency and rates.date_day = made.ordered_on
    where made.unit_cost is distinct from {{ warehouse.to_reporting('products.cost', 'rates.rate', 4) }}
{% endmacro %}

{#- Sessions with events that were loaded or deleted since. -#}
{% macro changed_sessions() %}
    {%- set events = warehouse.bronze_table('shop', 'events') -%}
    {%- if events.columns %}
    select {{ warehouse.bronze_value(events, 'session_id', 'text') }} as session_id
    from {{ events.relation }} as bronze_rows
    where _loaded_at > (select coalesce(max(_loaded_at), '-infinity') from {{ this }})
    {%- else %}
    select session_id from {{ this }} where false
    {%- endif %}
{% endmacro %}

{#-
  Orders whose visits may be others now: the order or one of the sessions of its buyer or of a browser that is or was
  the buyer's has changed.
-#}
{% macro changed_touchpoints() %}
    with moved_sessions as (

        select session_id, visitor_id, customer_id
        from {{ ref('fct_session') }}
        where _built_at > (select coalesce(max(_session_built_at), '-infinity') from {{ this }})

    ),

    moved_orders as (

        {{ warehouse_shop.changed_with_order("is_counted") }}

    ),

    visitors as (

        select visitor_id from moved_sessions
        union
        select sessions.visitor_id
        from {{ ref('fct_session') }} as sessions
        inner join {{ ref('fct_order') }} as orders on orders.session_id = sessions.session_id
        inner join moved_orders on moved_orders.order_id = orders.order_id
        union
        select made.visitor_id from {{ this }} as made inner join moved_orders on moved_orders.order_id = made.order_id
        union
        select made.visitor_id from {{ this }} as made inner join moved_sessions on moved_sessions.session_id = made.session_id
        union
        {#- Sessions that have gone. #}
        select made.visitor_id
        from {{ this }} as made
        left join {{ ref('fct_session') }} as sessions on sessions.session_id = made.session_id
        where made.session_id is not null and sessions.session_id is null

    ),

    buyers as (

        select customer_id from moved_sessions where customer_id is not null
        union
        select people.customer_id
        from {{ ref('int_shop__visitors') }} as people
        inner join visitors on visitors.visitor_id = people.visitor_id
        union
        select made.customer_id from {{ this }} as made inner join visitors on visitors.visitor_id = made.visitor_id

    )

    select order_id from moved_orders
    union
    select orders.order_id
    from {{ ref('fct_order') }} as orders
    inner join buyers on buyers.customer_id = orders.customer_id
{% endmacro %}
