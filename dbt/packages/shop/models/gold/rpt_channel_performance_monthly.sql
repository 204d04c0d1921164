{{ warehouse_shop.channel_performance('month') }}
