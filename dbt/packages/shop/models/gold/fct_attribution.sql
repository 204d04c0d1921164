{{ config(materialized='view') }}
{#- Parts are differences of rounded running shares, so that they add up to the order's revenue to the cent. #}
with weights as (

    select
        touchpoints.touchpoint_id,
        touchpoints.order_id,
        touchpoints.customer_id,
        touchpoints.ordered_on,
        touchpoints.channel_id,
        touchpoints.source,
        touchpoints.campaign,
        touchpoints.touch_number,
        models.attribution_model,
        models.weight,
        sum(models.weight) over (
            -- An order has one day; named here, a reader's period is all that is computed.
            partition by touchpoints.order_id, touchpoints.ordered_on, models.attribution_model
            order by touchpoints.touch_number
        ) as running
    from {{ ref('fct_touchpoint') }} as touchpoints
    cross join lateral (
        values
        ('first_touch', touchpoints.first_touch),
        ('last_touch', touchpoints.last_touch),
        ('last_non_direct', touchpoints.last_non_direct),
        ('linear', touchpoints.linear),
        ('position', touchpoints.position_based),
        ('time_decay', touchpoints.time_decay)
    ) as models (attribution_model, weight)

)

select
    weights.touchpoint_id || ':' || weights.attribution_model as attribution_id,
    weights.attribution_model,
    weights.order_id,
    weights.touchpoint_id,
    weights.customer_id,
    weights.ordered_on,
    weights.channel_id,
    weights.source,
    weights.campaign,
    weights.weight,
    case when orders.customer_order_number = 1 then weights.weight else 0 end as new_customers,
    {{ warehouse.share('orders.revenue', 'weights.running', 'weights.weight', '1') }} as revenue,
    {{ warehouse.share('orders.net_revenue', 'weights.running', 'weights.weight', '1') }} as net_revenue
from weights
inner join {{ ref('fct_order') }} as orders on orders.order_id = weights.order_id
where weights.weight <> 0
