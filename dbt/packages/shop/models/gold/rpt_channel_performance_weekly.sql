{{ warehouse_shop.channel_performance('week') }}
