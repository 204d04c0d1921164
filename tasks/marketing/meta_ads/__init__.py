"""Meta Ads: insights by asynchronous reports, with actions that cannot be counted twice."""
