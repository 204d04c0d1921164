{#-
  Made of metrics.yaml by `python -m tasks.metrics`: a ratio over a row of sums, `relation` being where its columns are.
-#}
{% macro metric(name, relation, places=4) -%}
    {%- set parts = {
        'average_order_value': ['revenue', 'orders'],
        'conversion_rate': ['orders', 'sessions'],
        'click_rate': ['clicks', 'impressions'],
        'cost_per_click': ['spend', 'clicks'],
        'return_on_ad_spend': ['net_revenue', 'spend'],
        'claimed_return_on_ad_spend': ['claimed_revenue', 'spend'],
        'acquisition_cost': ['spend', 'new_customers'],
        'margin_rate': ['margin', 'net_revenue'],
        'refund_rate': ['refunded_revenue', 'revenue'],
        'return_rate': ['returned_units', 'units'],
        'step_rate': ['visitors', 'visitors_before'],
        'retention': ['active_customers', 'cohort_size'],
    }[name] -%}
    {{ warehouse.ratio(relation ~ '.' ~ parts[0], relation ~ '.' ~ parts[1], places) }}
{%- endmacro %}
