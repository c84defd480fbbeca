"""The chain: from a query or a folder to a manifest to train on. Imports schemas and taggers."""
