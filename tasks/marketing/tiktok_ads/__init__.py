"""TikTok Ads: integrated reports, whose errors come with HTTP 200."""
