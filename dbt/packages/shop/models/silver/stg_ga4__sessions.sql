{%- set bronze = warehouse.bronze_table('ga4', 'sessions') -%}
select
    bronze_rows._id as source_key,
    {{ warehouse.bronze_value(bronze, 'date', 'date') }} as started_on,
    {{ warehouse.bronze_value(bronze, 'account_id', 'text') }} as property_id,
    coalesce(nullif(lower(trim({{ warehouse.bronze_value(bronze, 'session_source', 'text') }})), ''), '(not set)') as source,
    coalesce(nullif(lower(trim({{ warehouse.bronze_value(bronze, 'session_medium', 'text') }})), ''), '(not set)') as medium,
    nullif({{ warehouse.bronze_value(bronze, 'session_campaign_name', 'text') }}, '') as campaign,
    {{ warehouse.bronze_value(bronze, 'session_default_channel_group', 'text') }} as ga4_channel_group,
    {{ warehouse.bronze_value(bronze, 'sessions', 'bigint') }} as sessions,
    {{ warehouse.bronze_value(bronze, 'engaged_sessions', 'bigint') }} as engaged_sessions,
    {{ warehouse.bronze_value(bronze, 'new_users', 'bigint') }} as new_users,
    {{ warehouse.bronze_value(bronze, 'key_events', 'numeric') }} as key_events,
    {{ warehouse.bronze_value(bronze, 'transactions', 'bigint') }} as transactions,
    {{ warehouse.bronze_value(bronze, 'purchase_revenue', 'numeric') }} as purchase_revenue,
    upper({{ warehouse.bronze_value(bronze, 'property_currency', 'text') }}) as currency,
    coalesce({{ warehouse.bronze_value(bronze, 'is_other_row', 'boolean') }}, false) as is_other_row,
    coalesce({{ warehouse.bronze_value(bronze, 'subject_to_thresholding', 'boolean') }}, false) as is_thresholded,
    {{ warehouse.bronze_value(bronze, 'samples_read', 'bigint') }} is not null as is_sampled,
    {{ warehouse.bronze_unreadable(bronze) }} as unreadable,
    {{ warehouse.bronze_value(bronze, '_loaded_at', 'timestamptz') }} as loaded_at
    {{- warehouse.passthrough(bronze) }}
from {{ bronze.rows }}
