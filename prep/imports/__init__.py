"""Pictures that a person has already: folders as they are found, and what lies beside each file."""
