{#-
  Made of metrics.yaml by `python -m tasks.metrics`: a ratio over a row of sums, `relation` being where its columns are.
-#}
{% macro metric(name, relation) -%}
    {%- set parts = {
        'average_order_value': ['revenue', 'orders'],
        'returning_share': ['returning_orders', 'orders'],
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
        'marketing_efficiency_ratio': ['net_revenue', 'spend'],
        'blended_acquisition_cost': ['spend', 'new_customers'],
        'paid_acquisition_cost': ['spend', 'paid_new_customers'],
        'paid_return_on_ad_spend': ['paid_net_revenue', 'spend'],
        'ltv_revenue': ['cumulative_net_revenue', 'cohort_size'],
        'ltv_margin': ['cumulative_margin', 'cohort_size'],
        'cohort_acquisition_cost': ['spend', 'cohort_size'],
        'ltv_to_acquisition_cost': ['cumulative_margin', 'spend'],
    }[name] -%}
    {{ warehouse.ratio(relation ~ '.' ~ parts[0], relation ~ '.' ~ parts[1]) }}
{%- endmacro %}
