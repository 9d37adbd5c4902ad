"""Small real models behind HTTP, without a download: the demo's upstream."""
