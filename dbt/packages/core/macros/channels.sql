{#-
  Where a visit came from and which channel group that is, in the order of rules that Google Analytics 4 documents for its
  default channel group: https://support.google.com/analytics/answer/9756891
-#}

{#- Names of sites by Google's source categories: a name stands for its host under any domain and subdomain. -#}
{% macro source_names(category) %}
    {{ return({
        'search': ['google', 'bing', 'yahoo', 'duckduckgo', 'ecosia', 'baidu', 'yandex', 'ask', 'aol', 'qwant', 'startpage',
                   'naver', 'daum', 'seznam', 'sogou', 'brave', 'onet', 'lycos', 'dogpile', 'centrum', 'rambler',
                   'alltheweb', 'presearch', 'swisscows', 'metager', 'kagi', 'virgilio'],
        'social': ['facebook', 'fb', 'instagram', 'ig', 'tiktok', 'linkedin', 'lnkd', 'twitter', 'x', 't.co', 'pinterest',
                   'pin.it', 'reddit', 'snapchat', 'threads', 'whatsapp', 'wa.me', 'messenger', 'm.me', 'telegram', 't.me',
                   'tumblr', 'quora', 'vk', 'vkontakte', 'ok.ru', 'weibo', 'wechat', 'mastodon', 'bsky', 'bluesky', 'xing',
                   'meetup', 'nextdoor', 'flickr', 'yammer', 'disqus', 'goodreads', 'livejournal', 'hootsuite',
                   'buffer', 'ycombinator', 'stackoverflow', 'stackexchange', 'glassdoor', 'yelp', 'tripadvisor', 'slashdot'],
        'video': ['youtube', 'youtu.be', 'vimeo', 'twitch', 'dailymotion', 'netflix', 'hulu', 'disneyplus', 'wistia', 'iqiyi',
                  'youku', 'crackle', 'jwplayer', 'ted', 'utreon', 'veoh', 'viadeo'],
        'shopping': ['google shopping', 'shopping.google', 'igshopping', 'amazon', 'ebay', 'etsy', 'alibaba', 'aliexpress',
                     'walmart', 'shopify', 'mercadolibre', 'mercadolivre', 'rakuten', 'shopzilla', 'idealo',
                     'wayfair', 'taobao', 'tmall', 'zalando', 'bestbuy', 'homedepot'],
    }[category]) }}
{% endmacro %}

{#- search, social, video or shopping, or null: what kind of site a source is. -#}
{% macro source_category(source) %}
    {#- Names that are hosts already end as they stand; of the others any top-level domain may follow. #}
    case
        {#- Mail and tools of a search engine are no search. #}
        when {{ source }} ~ '(^|\.)(mail|accounts|docs|drive|meet|calendar|classroom|sites|translate)\.(google|yahoo|yandex)\.' then null
        {% for category in ['shopping', 'video', 'social', 'search'] -%}
        {%- set names = warehouse.source_names(category) | map('replace', '.', '\.') | join('|') -%}
        when {{ source }} ~ '^([a-z0-9-]+\.)*({{ names }})(\.[a-z]{2,3}){0,2}$' then '{{ category }}'
        {% endfor -%}
        {#- Apps that open a link name themselves backwards. #}
        when {{ source }} ~ '^(android-app://)?com\.google\.android\.googlequicksearchbox' then 'search'
        when {{ source }} ~ '^(android-app://)?(com\.facebook|com\.instagram|com\.linkedin|com\.twitter|com\.zhiliaoapp|com\.pinterest)' then 'social'
    end
{%- endmacro %}

{#- The rules. Empty text counts as not given; upper and lower case are the same. `hint` is what `campaign_hint` found. -#}
{% macro channel_group(source, medium, hint='null') %}
    {%- set source = "lower(coalesce(nullif(trim(" ~ source ~ "), ''), '(not set)'))" -%}
    {%- set medium = "lower(coalesce(nullif(trim(" ~ medium ~ "), ''), '(not set)'))" -%}
    {%- set paid = medium ~ " ~ '^(.*cp.*|ppc|retargeting|paid.*)$'" -%}
    (
        select case
            when kind.source = '(direct)' and kind.medium in ('(none)', '(not set)') then 'Direct'
            when {{ hint }} = 'cross-network' then 'Cross-network'
            when (kind.category = 'shopping' or {{ hint }} = 'shopping') and kind.paid then 'Paid Shopping'
            when kind.category = 'search' and kind.paid then 'Paid Search'
            when kind.category = 'social' and kind.paid then 'Paid Social'
            when kind.category = 'video' and kind.paid then 'Paid Video'
            when kind.medium in ('display', 'banner', 'expandable', 'interstitial', 'cpm') then 'Display'
            when kind.paid then 'Paid Other'
            when kind.category = 'shopping' or {{ hint }} = 'shopping' then 'Organic Shopping'
            when kind.category = 'social'
                or kind.medium in ('social', 'social-network', 'social-media', 'sm', 'social network', 'social media')
                then 'Organic Social'
            when kind.category = 'video' or kind.medium like '%video%' then 'Organic Video'
            when kind.category = 'search' or kind.medium = 'organic' then 'Organic Search'
            when kind.medium in ('referral', 'app', 'link') then 'Referral'
            when kind.source in ('email', 'e-mail', 'e_mail', 'e mail')
                or kind.medium in ('email', 'e-mail', 'e_mail', 'e mail') then 'Email'
            when kind.medium in ('affiliate', 'affiliates') then 'Affiliates'
            when kind.medium = 'audio' then 'Audio'
            when kind.source = 'sms' or kind.medium = 'sms' then 'SMS'
            when kind.medium like '%push' or kind.medium like '%mobile%' or kind.medium like '%notification%'
                or kind.source = 'firebase' then 'Mobile Push Notifications'
            else 'Unassigned'
        end
        from (
            select
                {{ source }} as source,
                {{ medium }} as medium,
                {{ paid }} as paid,
                {{ warehouse.source_category(source) }} as category
        ) as kind
    )
{%- endmacro %}

{#- What the rules want to know of a campaign's name: `cross-network`, `shopping` or null. -#}
{% macro campaign_hint(campaign) -%}
    case
        when lower({{ campaign }}) like '%cross-network%' then 'cross-network'
        when lower({{ campaign }}) ~ '^(.*(([^a-df-z]|^)shop|shopping).*)$' then 'shopping'
    end
{%- endmacro %}

{#- Which way a visit came, as one text: the key of dim_channel. -#}
{% macro channel_id(source, medium, hint='null') -%}
    {{ source }} || ' / ' || {{ medium }} || coalesce(' / ' || {{ hint }}, '')
{%- endmacro %}

{#- Whether a channel group is bought. -#}
{% macro is_paid_group(channel_group) -%}
    ({{ channel_group }} like 'Paid %' or {{ channel_group }} in ('Display', 'Cross-network'))
{%- endmacro %}

{#-
  Click ids that platforms add to links, with the source and medium that one stands for where no utm says more. Facebook adds
  its own to links that nobody paid for too.
-#}
{% macro click_ids() %}
    {{ return({
        'gclid': ['google', 'cpc'], 'gbraid': ['google', 'cpc'], 'wbraid': ['google', 'cpc'], 'dclid': ['google', 'display'],
        'msclkid': ['bing', 'cpc'], 'fbclid': ['facebook', 'social'], 'ttclid': ['tiktok', 'paid_social'],
        'li_fat_id': ['linkedin', 'paid_social'], 'twclid': ['twitter', 'paid_social'],
        'rdt_cid': ['reddit', 'paid_social'], 'ScCid': ['snapchat', 'paid_social'],
    }) }}
{% endmacro %}

{#- The value of a parameter in a URL's query, null where it is missing or empty. -#}
{% macro url_parameter(url, name) -%}
    nullif(substring({{ url }} from '[?&]{{ name }}=([^&#]*)'), '')
{%- endmacro %}

{#- The host of a URL in lower case, without `www.` and port. -#}
{% macro url_host(url) -%}
    lower(substring({{ url }} from '^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/@]*@)?(?:[wW]{3}\.)?([^/:?#]+)'))
{%- endmacro %}

{#- Whether a host is one of some domains or below one. -#}
{% macro host_is_of(host, domains) -%}
    {%- if domains -%}
    coalesce({{ host }} ~ '(^|\.)({{ domains | map('replace', '.', '\.') | join('|') }})$', false)
    {%- else -%}
    false
    {%- endif -%}
{%- endmacro %}

