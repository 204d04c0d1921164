"""Microsoft Ads: reports as zipped CSV, which are ordered, asked after and downloaded."""
