{#- The channel group of a source and medium, in the order of rules that Google Analytics documents for its own. -#}
{% macro channel_group(source, medium) %}
    {%- set paid = medium ~ " ~ '^(.*cp.*|ppc|retargeting|paid.*)$'" -%}
    {%- set social = source ~ " in ('facebook', 'instagram', 'tiktok', 'linkedin', 'pinterest', 'x', 'reddit', 'youtube')" -%}
    {%- set search = source ~ " in ('google', 'bing', 'duckduckgo', 'ecosia', 'yahoo')" -%}
    case
        when {{ source }} = '(direct)' and {{ medium }} in ('(none)', '(not set)') then 'Direct'
        when {{ medium }} like '%shopping%' and {{ paid }} then 'Paid Shopping'
        when {{ search }} and {{ paid }} then 'Paid Search'
        when {{ social }} and {{ paid }} then 'Paid Social'
        when {{ medium }} in ('display', 'banner', 'expandable', 'interstitial', 'cpm') then 'Display'
        when {{ paid }} then 'Paid Other'
        when {{ social }} or {{ medium }} in ('social', 'social-network', 'social-media', 'sm') then 'Organic Social'
        when {{ search }} or {{ medium }} = 'organic' then 'Organic Search'
        when {{ medium }} in ('referral', 'app', 'link') then 'Referral'
        when {{ source }} in ('email', 'e-mail') or {{ medium }} in ('email', 'e-mail', 'e_mail') then 'Email'
        when {{ medium }} in ('affiliate', 'affiliates') then 'Affiliates'
        when {{ medium }} = 'audio' then 'Audio'
        when {{ medium }} = 'sms' then 'SMS'
        when {{ medium }} in ('push', 'mobile', 'notification') then 'Mobile Push'
        else 'Unassigned'
    end
{%- endmacro %}

{#- Which way a visit came, as one text: the key of dim_channel. -#}
{% macro channel_id(source, medium) -%}
    {{ source }} || ' / ' || {{ medium }}
{%- endmacro %}

{#- A ratio that is null where its denominator is 0; sum first, divide last. -#}
{% macro ratio(numerator, denominator, places=4) -%}
    round(({{ numerator }})::numeric / nullif({{ denominator }}, 0), {{ places }})
{%- endmacro %}

{#-
  One row per customer with the figures of "buy till you die" models, by the conventions of their literature: purchases of
  one day count as one, `frequency` counts the days after the first, `recency` is the days from the first to the last, `t`
  the days from the first to the end of the observation, `monetary_value` the mean of the days after the first.
  `observation_end` is a date expression; later purchases are left out.
-#}
{% macro repeat_purchase_summary(relation, customer, day, amount, observation_end) %}
    with purchase_days as (

        select
            {{ customer }} as customer,
            {{ day }} as day,
            sum({{ amount }}) as amount,
            row_number() over (partition by {{ customer }} order by {{ day }}) as day_number
        from {{ relation }}
        where {{ day }} <= {{ observation_end }}
        group by 1, 2

    )

    select
        customer,
        min(day) as first_purchase_on,
        max(day) as last_purchase_on,
        (count(*) - 1)::integer as frequency,
        (max(day) - min(day))::integer as recency,
        ({{ observation_end }} - min(day))::integer as t,
        coalesce(avg(amount) filter (where day_number > 1), 0) as monetary_value,
        sum(amount) as total_amount
    from purchase_days
    group by 1
{%- endmacro %}
