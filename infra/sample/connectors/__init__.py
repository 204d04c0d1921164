"""Fakes of the services that other people's connectors read, behind a proxy that ends their TLS."""
