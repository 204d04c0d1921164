with summary as (

    {{ warehouse.repeat_purchase_summary(ref('fct_cdnow_purchase'), 'customer_id', 'purchased_on', 'amount',
                               "date '" ~ var('cdnow_observation_end', '1998-06-30') ~ "'") }}

)

select
    customer as customer_id,
    first_purchase_on,
    last_purchase_on,
    frequency,
    recency,
    t,
    monetary_value,
    total_amount
from summary
