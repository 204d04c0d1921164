select purchase_id, customer_id, position, purchased_on, units, amount
from {{ ref('stg_cdnow__customers__purchases') }}
