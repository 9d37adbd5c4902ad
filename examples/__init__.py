"""Things to run against a marketplace: a server of small real models, and clients. Nothing here imports the product."""
