"""Reading MongoDB: whole collections, by a cursor field, or by change streams."""
