"""The engine that reads HTTP APIs: what every channel is built on, and `kind: rest`, its face in sources.yaml."""
