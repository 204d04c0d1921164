"""LinkedIn Ads: analytics by account, so that campaigns nobody touched for a year are in them, too."""
