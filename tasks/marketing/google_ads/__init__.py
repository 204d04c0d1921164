"""Google Ads: reports and entities by GAQL over the REST interface's searchStream."""
