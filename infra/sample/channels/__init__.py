"""Channels that answer as the services do, over real HTTP, from data that can change: for the demo and the tests."""
