{#-
  What a project may set under `vars:`, with what holds where it does not. Read here only, so that every model means the same.

  reporting_timezone           time zone of the days in reports
  reporting_currency           currency that amounts are added up in
  default_currency             currency of an order or product that names none
  revenue_includes_shipping    whether shipping, net of VAT, counts as revenue
  cancelled_statuses           states of orders that are no sales
  own_domains                  domains of the shop itself: never where a visit came from
  payment_domains              domains that send buyers back from paying: never either
  sessions_from                whose visits reports count: `events`, `ga4`, or empty: events where there are some, else ga4
  attribution_model            model that rpt_ tables use: first_touch, last_touch, last_non_direct, linear, position or time_decay
  attribution_lookback_days    days before an order whose visits share it
  attribution_half_life_hours  time decay: after so many hours a visit counts half
  funnel_window_hours          hours in which a visitor takes all steps of the funnel
  calendar_start               first day of dim_date
-#}
{% macro setting(name) %}
    {%- set defaults = {
        'reporting_timezone': 'UTC',
        'reporting_currency': 'EUR',
        'default_currency': 'EUR',
        'revenue_includes_shipping': true,
        'cancelled_statuses': ['cancelled', 'canceled', 'voided'],
        'own_domains': [],
        'payment_domains': ['paypal.com', 'klarna.com', 'stripe.com', 'adyen.com', 'mollie.com', 'pay.google.com',
                            'apple.com', 'sofort.com', 'giropay.de', 'checkout.com', 'worldpay.com', 'amazonpay.com'],
        'sessions_from': '',
        'attribution_model': 'last_non_direct',
        'attribution_lookback_days': 30,
        'attribution_half_life_hours': 168,
        'funnel_window_hours': 24,
        'calendar_start': '2010-01-01',
    } -%}
    {%- if name not in defaults -%}
        {{ exceptions.raise_compiler_error('no setting is called ' ~ name ~ '; known: ' ~ defaults.keys() | join(', ')) }}
    {%- endif -%}
    {{ return(var(name, defaults[name])) }}
{% endmacro %}

{#- A list of texts as SQL literals: `'a', 'b'`; a text that nothing equals for an empty list. -#}
{% macro literals(values) -%}
    {%- for value in values or ['\x01'] -%}'{{ value | replace("'", "''") }}'{% if not loop.last %}, {% endif %}{%- endfor -%}
{%- endmacro %}

{#- The day of a time in the reporting time zone. -#}
{% macro reporting_date(expression) -%}
    {{ return(adapter.dispatch('reporting_date', 'warehouse')(expression)) }}
{%- endmacro %}

{% macro default__reporting_date(expression) -%}
    (({{ expression }}) at time zone '{{ warehouse.setting('reporting_timezone') }}')::date
{%- endmacro %}
