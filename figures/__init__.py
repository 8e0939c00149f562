"""The pictures of the README, one module each, drawn from a grid's records; nothing here trains."""
