{{ config(materialized='table', indexes=[{'columns': ['visitor_id'], 'unique': true}, {'columns': ['customer_id']}]) }}
{#-
  Whose a browser is. Rules, in this order: who logged in on it, who ordered in a visit of it (an account, or a guest's hashed
  address). A browser of which that names two people is nobody's, so that no two are merged by a shared device; an empty
  id never joins anything.
-#}
with links as (

    select visitor_id, customer_id
    from {{ ref('fct_session') }}
    where visitor_id is not null and customer_id is not null
    union
    select sessions.visitor_id, orders.customer_id
    from {{ ref('fct_order') }} as orders
    inner join {{ ref('fct_session') }} as sessions on sessions.session_id = orders.session_id
    where sessions.visitor_id is not null and orders.customer_id <> 'unknown'

)

select visitor_id, min(customer_id) as customer_id
from links
group by 1
having count(*) = 1
