"""pluginkit."""
