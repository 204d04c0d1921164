"""Kubernetes: manifests, the base job template, and what runs inside a flow pod."""
