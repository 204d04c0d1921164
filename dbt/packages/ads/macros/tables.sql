{#-
  The tables of bronze that a platform's spend may stand in, as `source.table` of sources.yaml: those of its own channel,
  and the CSV files of the source `ads`. One of them is read, so that no spend counts twice: the first that bronze has, or
  the one that a project names:

      vars:
        ads_tables: {google_ads: google_ads.ads}

  `day` is the field with their day. Campaigns come first, for only they are complete: what Google or Microsoft spend by campaigns without ads (Performance
  Max), and what was spent on ads that are deleted, has no row below.
-#}
{% macro spend_tables() %}
    {{ return({
        'google_ads': {'day': 'segments_date',
                       'tables': ['google_ads.campaigns', 'google_ads.ad_groups', 'google_ads.ads', 'ads.google_ads']},
        'meta_ads': {'day': 'date_start',
                     'tables': ['meta_ads.campaigns', 'meta_ads.ad_sets', 'meta_ads.ads', 'ads.meta_ads']},
        'tiktok_ads': {'day': 'stat_time_day',
                       'tables': ['tiktok_ads.campaigns', 'tiktok_ads.ad_groups', 'tiktok_ads.ads', 'ads.tiktok_ads']},
        'linkedin_ads': {'day': 'date',
                         'tables': ['linkedin_ads.campaign_groups', 'linkedin_ads.campaigns', 'linkedin_ads.creatives',
                                    'ads.linkedin_ads']},
        'microsoft_ads': {'day': 'date', 'tables': ['microsoft_ads.campaigns', 'microsoft_ads.ad_groups', 'microsoft_ads.ads']},
    }) }}
{% endmacro %}

{#- The table that a platform's spend is read from, as `bronze_table` gives it; empty while bronze has none of them. -#}
{% macro spend_table(platform) %}
    {%- set named = var('ads_tables', {}).get(platform) -%}
    {%- set found = [] -%}
    {%- for name in ([named] if named else warehouse_ads.spend_tables()[platform].tables) -%}
        {#- Each is asked for, so that the first load of one builds the models. -#}
        {%- do found.append(warehouse.bronze_table(name.split('.')[0], name.split('.')[1])) -%}
    {%- endfor -%}
    {{ return(found | selectattr('columns') | first or found[0]) }}
{% endmacro %}

{#-
  The channels' lists of what spend belongs to: one entry each.

  level             whose list it is, in the words that all platforms share: `campaign`, `ad_group` or `ad`
  id, name          fields of the list; ads of some platforms have no name
  parent            field with the id of what it stands below; what comes before the last colon is left out (URNs)
  status            field with its state
  objective         field with what it is optimised for, where the list has it
-#}
{% macro entity_tables() %}
    {{ return([
        {'table': 'google_ads.campaign_list', 'level': 'campaign', 'id': 'campaign_id', 'name': 'campaign_name',
         'status': 'campaign_status', 'objective': 'campaign_advertising_channel_type'},
        {'table': 'google_ads.ad_list', 'level': 'ad', 'id': 'ad_group_ad_ad_id', 'name': 'ad_group_ad_ad_name',
         'parent': 'ad_group_id', 'status': 'ad_group_ad_status'},
        {'table': 'meta_ads.campaign_list', 'level': 'campaign', 'id': 'id', 'name': 'name', 'status': 'effective_status',
         'objective': 'objective'},
        {'table': 'meta_ads.ad_set_list', 'level': 'ad_group', 'id': 'id', 'name': 'name', 'parent': 'campaign_id',
         'status': 'effective_status'},
        {'table': 'meta_ads.ad_list', 'level': 'ad', 'id': 'id', 'name': 'name', 'parent': 'adset_id',
         'status': 'effective_status'},
        {'table': 'tiktok_ads.campaign_list', 'level': 'campaign', 'id': 'campaign_id', 'name': 'campaign_name',
         'status': 'operation_status', 'objective': 'objective_type'},
        {'table': 'tiktok_ads.ad_group_list', 'level': 'ad_group', 'id': 'adgroup_id', 'name': 'adgroup_name',
         'parent': 'campaign_id', 'status': 'operation_status'},
        {'table': 'tiktok_ads.ad_list', 'level': 'ad', 'id': 'ad_id', 'name': 'ad_name', 'parent': 'adgroup_id',
         'status': 'operation_status'},
        {'table': 'linkedin_ads.campaign_group_list', 'level': 'campaign', 'id': 'id', 'name': 'name', 'status': 'status'},
        {'table': 'linkedin_ads.campaign_list', 'level': 'ad_group', 'id': 'id', 'name': 'name', 'parent': 'campaignGroup',
         'status': 'status', 'objective': 'objectiveType'},
        {'table': 'linkedin_ads.creative_list', 'level': 'ad', 'id': 'id', 'name': 'name', 'parent': 'campaign',
         'status': 'intendedStatus'},
        {'table': 'microsoft_ads.campaign_list', 'level': 'campaign', 'id': 'campaign_id', 'name': 'campaign_name',
         'status': 'status', 'objective': 'campaign_type'},
        {'table': 'microsoft_ads.ad_group_list', 'level': 'ad_group', 'id': 'ad_group_id', 'name': 'ad_group_name',
         'parent': 'campaign_id', 'status': 'status'},
        {'table': 'microsoft_ads.ad_list', 'level': 'ad', 'id': 'ad_id', 'parent': 'ad_group_id', 'status': 'status'},
    ]) }}
{% endmacro %}

{#- Join of the entity of a level whose id is `id`; ids are unique within an account. -#}
{% macro join_entity(alias, level, id, of='spend') %}
left join {{ ref('stg_ads__entities') }} as {{ alias }}
    on {{ alias }}.platform = {{ of }}.platform and {{ alias }}.account_id = {{ of }}.account_id
    and {{ alias }}.level = '{{ level }}' and {{ alias }}.entity_id = {{ id }}
{%- endmacro %}
