{#-
  The advertising platforms: one entry each, which with its staging model `stg_ads__<platform>` is all that a new platform
  takes. A project lists its own in the var `ads_platforms`.

  source, medium   what the platform's links carry as utm_source and utm_medium; a staging model may give a source by row
  sources          every utm_source that its links may carry
  days_in          whose days its daily figures are: `account` (the account's own time zone) or `UTC`. Daily figures
                   cannot be shifted to the reporting time zone
-#}
{% macro platforms() %}
    {{ return(var('ads_platforms', [
        {'platform': 'google_ads', 'source': 'google', 'medium': 'cpc', 'sources': ['google'], 'days_in': 'account'},
        {'platform': 'meta_ads', 'source': 'facebook', 'medium': 'paid_social',
         'sources': ['facebook', 'instagram', 'fb', 'ig', 'meta', 'audience_network', 'messenger'], 'days_in': 'account'},
        {'platform': 'tiktok_ads', 'source': 'tiktok', 'medium': 'paid_social', 'sources': ['tiktok'], 'days_in': 'UTC'},
        {'platform': 'microsoft_ads', 'source': 'bing', 'medium': 'cpc', 'sources': ['bing'], 'days_in': 'account'},
        {'platform': 'linkedin_ads', 'source': 'linkedin', 'medium': 'paid_social', 'sources': ['linkedin'], 'days_in': 'UTC'},
    ])) }}
{% endmacro %}

{#-
  The columns of a staging model of ad spend, in the order that all have. Each argument is SQL; a platform without a level
  leaves it out.
-#}
{% macro ad_columns(
    bronze, spent_on, account_id, campaign_id, campaign_name, currency, impressions, clicks, spend, conversions,
    conversions_value, source='null::text', account_name='null::text', objective='null::text', ad_group_id='null::text',
    ad_group_name='null::text', ad_id='null::text', ad_name='null::text', attribution_setting='null::text'
) %}
    bronze_rows._id as source_key,
    {{ spent_on }} as spent_on,
    {{ account_id }} as account_id,
    {{ account_name }} as account_name,
    {{ campaign_id }} as campaign_id,
    {{ campaign_name }} as campaign_name,
    {{ objective }} as objective,
    {{ ad_group_id }} as ad_group_id,
    {{ ad_group_name }} as ad_group_name,
    {{ ad_id }} as ad_id,
    {{ ad_name }} as ad_name,
    {{ source }} as source,
    {{ currency }} as currency,
    {{ impressions }} as impressions,
    {{ clicks }} as clicks,
    {{ spend }} as spend,
    coalesce({{ conversions }}, 0) as conversions,
    coalesce({{ conversions_value }}, 0) as conversions_value,
    {{ attribution_setting }} as attribution_setting,
    '{{ bronze.relation.identifier }}' as read_from,
    {{ warehouse.bronze_unreadable(bronze) }} as unreadable,
    {{ warehouse.bronze_value(bronze, '_loaded_at', 'timestamptz') }} as loaded_at
    {{- warehouse.passthrough(bronze) }}
{% endmacro %}

{#- Key of a campaign, ad group or ad over all platforms; names are not unique, and ids only within an account. -#}
{% macro campaign_key(platform='platform', account='account_id', campaign='campaign_id') -%}
    {{ platform }} || ':' || coalesce({{ account }}, '') || ':' || {{ campaign }}
{%- endmacro %}
