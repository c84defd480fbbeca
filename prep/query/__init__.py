"""Danbooru's query language: read, written back, tested against tables, split for the site."""
