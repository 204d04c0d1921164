-- Spend per platform and day of the calendar is the same in the fact as in the platforms' own tables, in the currency it came in.
with by_platform as (

    {% for platform in warehouse_ads.platforms() -%}
    select '{{ platform.platform }}' as platform, spent_on, sum(spend) as spend
    from {{ ref('stg_ads__' ~ platform.platform) }}
    where {{ warehouse.in_calendar('spent_on') }}
    group by 1, 2
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

by_fact as (

    select platform, spent_on, sum(original_spend) as spend from {{ ref('fct_ad_spend_daily') }} group by 1, 2

)

select platform, spent_on, by_platform.spend as by_platform, by_fact.spend as by_fact
from by_platform
full outer join by_fact using (platform, spent_on)
where by_platform.spend is distinct from by_fact.spend
