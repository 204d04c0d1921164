{#- Rows of spend that are new, gone or loaded again, that a later rate applies to, whose campaign is known or
    called otherwise, or whose day has become final. -#}
{% macro changed_spend() %}
    select coalesce(spend.ad_spend_id, made.ad_spend_id) as ad_spend_id
    from {{ ref('int_ads__spend') }} as spend
    left join {{ ref('fct_exchange_rate') }} as rates on rates.currency = spend.currency and rates.date_day = spend.spent_on
    full join {{ this }} as made on made.ad_spend_id = spend.ad_spend_id
    where spend.ad_spend_id is null or made.ad_spend_id is null
        or (made._loaded_at, made.campaign_key, made.campaign_name, made.ad_group_id, made.is_provisional)
            is distinct from (spend.loaded_at, spend.campaign_key, spend.campaign_name, spend.ad_group_id, spend.is_provisional)
        or made.exchange_rate is distinct from rates.rate
{% endmacro %}
