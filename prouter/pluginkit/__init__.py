"""Plugins: found, registered, configured, called. Used by router and agent alike; knows neither."""
