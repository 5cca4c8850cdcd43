"""What asynchronous worker classes have in common: event loops on the engine, the lifespan protocol."""
