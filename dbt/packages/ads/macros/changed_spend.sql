{#- Rows of spend that are new, gone or loaded again, or that a later rate applies to. -#}
{% macro changed_spend() %}
    select coalesce(spend.ad_spend_id, made.ad_spend_id) as ad_spend_id
    from {{ ref('int_ads__spend') }} as spend
    left join {{ ref('fct_exchange_rate') }} as rates on rates.currency = spend.currency and rates.date_day = spend.spent_on
    full join {{ this }} as made on made.ad_spend_id = spend.ad_spend_id
    where spend.ad_spend_id is null or made.ad_spend_id is null
        or made._loaded_at is distinct from spend.loaded_at
        or made.exchange_rate is distinct from rates.rate
{% endmacro %}
