"""Leaf modules: no models, no import of an app, one noun each."""
