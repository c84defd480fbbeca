"""The two files a user edits, as frozen types: prep.toml and train.toml."""
