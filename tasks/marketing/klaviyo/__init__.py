"""Klaviyo: an API of JSON:API records, as `kind: rest` describes it in `spec.yaml`."""
