"""Other people's connectors: a program in an environment of its own, read as a channel of accounts and days."""
