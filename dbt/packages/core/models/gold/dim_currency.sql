{#- Those that the European Central Bank has, or had, rates for, and some others; a project adds to them by the var `currencies`. #}
{%- set currencies = {
    'EUR': 'Euro', 'USD': 'US dollar', 'GBP': 'Pound sterling', 'CHF': 'Swiss franc', 'JPY': 'Japanese yen',
    'AUD': 'Australian dollar', 'BGN': 'Bulgarian lev', 'BRL': 'Brazilian real', 'CAD': 'Canadian dollar',
    'CNY': 'Chinese yuan', 'CZK': 'Czech koruna', 'DKK': 'Danish krone', 'HKD': 'Hong Kong dollar',
    'HUF': 'Hungarian forint', 'IDR': 'Indonesian rupiah', 'ILS': 'Israeli shekel', 'INR': 'Indian rupee',
    'ISK': 'Icelandic króna', 'KRW': 'South Korean won', 'MXN': 'Mexican peso', 'MYR': 'Malaysian ringgit',
    'NOK': 'Norwegian krone', 'NZD': 'New Zealand dollar', 'PHP': 'Philippine peso', 'PLN': 'Polish złoty',
    'RON': 'Romanian leu', 'RSD': 'Serbian dinar', 'RUB': 'Russian rouble', 'SEK': 'Swedish krona',
    'SGD': 'Singapore dollar', 'THB': 'Thai baht', 'TRY': 'Turkish lira', 'TWD': 'New Taiwan dollar',
    'CYP': 'Cyprus pound', 'EEK': 'Estonian kroon', 'HRK': 'Croatian kuna', 'LTL': 'Lithuanian litas',
    'LVL': 'Latvian lats', 'MTL': 'Maltese lira', 'ROL': 'Romanian leu (until 2005)', 'SIT': 'Slovenian tolar',
    'SKK': 'Slovak koruna', 'TRL': 'Turkish lira (until 2005)',
    'UAH': 'Ukrainian hryvnia', 'AED': 'UAE dirham', 'SAR': 'Saudi riyal', 'ZAR': 'South African rand',
} -%}
{%- do currencies.update(var('currencies', {})) -%}
select
    currency,
    currency_name,
    currency = '{{ warehouse.setting('reporting_currency') }}' as is_reporting
from (
    values
    {% for code, name in currencies.items() -%}
    ('{{ code }}', '{{ name }}'){{ ',' if not loop.last }}
    {% endfor %}
) as known (currency, currency_name)
