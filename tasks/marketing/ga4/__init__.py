"""Google Analytics 4: sessions, e-commerce and events by the Data API's runReport."""
