"""The pictures of the README and of docs/, drawn from records; nothing here trains."""
